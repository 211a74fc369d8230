"""Tables of the manuscript, written under <run>/paper/ by `make paper`."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from trustllm_repro.data.published import label, published
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.results import latex_escape, number
from trustllm_repro.scoring.run import Run
from trustllm_repro.store.atomic import write_text

RAGGED = r">{\raggedright\arraybackslash}p"  # a column of text without stretched blanks
VERDICTS = ("reproduced", "near", "differs", "not recorded")
# The changes worth a line each: defect, model.
STRIKING = (
    ("A2", "gpt-4"),
    ("A19", "gpt-4"),
    ("A21", "mistral-7b"),
    ("A1", "mistral-7b"),
    ("A3", "gpt-4"),
    ("A11", "baichuan-13b"),
    ("A11", "oasst-12b"),
    ("A4", "vicuna-13b"),
    ("A14", "vicuna-7b"),
    ("A10", "mistral-7b"),
)


def booktabs(head: list[str], lines: list[list[str]], columns: str) -> str:
    """A tabular whose every cell is escaped; `columns` is its column format."""
    rows = [" & ".join(latex_escape(c) for c in line) + r" \\" for line in lines]
    top = " & ".join(latex_escape(c) for c in head) + r" \\"
    body = ["\\toprule", top, "\\midrule", *rows, "\\bottomrule"]
    return f"\\begin{{tabular}}{{{columns}}}\n" + "\n".join(body) + "\n\\end{tabular}\n"


def by_dimension(cells: pd.DataFrame) -> str:
    """Verdicts per dimension, authors' rule."""
    part = cells[(cells["rule"] == Rule.AUTHORS) & cells["published"].notna()]
    names = {
        t: i["dimension"].replace("machine ethics", "ethics") for t, i in published().tables.items()
    }
    counts = part.groupby([part["table"].map(names), "verdict"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(VERDICTS), fill_value=0)
    order = ["truthfulness", "safety", "fairness", "robustness", "privacy", "ethics", "overall"]
    lines = [[d, *map(str, counts.loc[d])] for d in order if d in counts.index]
    lines.append(["all", *map(str, counts.sum())])
    return booktabs(["dimension", "repr.", "near", "differs", "not rec."], lines, "lrrrr")


def claims_table(claims: pd.DataFrame) -> str:
    """Claim, verdict and q-value."""
    lines = [
        [c.id, c.claim, c.verdict.replace(" from records", ""), _q(c.q)]
        for c in claims.itertuples()
    ]
    return booktabs(
        ["", "claim", "verdict", "q"], lines, f"l{RAGGED}{{0.58\\linewidth}}p{{0.19\\linewidth}}r"
    )


def _q(q: float) -> str:
    return "< 0.001" if q < 0.001 else number(q)


def defects_table(defects: pd.DataFrame) -> str:
    """Defect, largest change of a number, models that change rank, listed before or new."""
    lines = [
        [
            d.id,
            d.defect,
            "–" if pd.isna(d.largest_change) else f"{d.largest_change:+.2f}",
            "–" if pd.isna(d.models_moved) else f"{d.models_moved:.0f}",
            "listed" if d.listed_before else "new",
        ]
        for d in defects.itertuples()
    ]
    head = ["", "defect", "change", "moved", ""]
    return booktabs(head, lines, f"l{RAGGED}{{0.62\\linewidth}}rrl")


def changes_table(changes: pd.DataFrame) -> str:
    """Published and corrected values of the most striking cells."""
    lines = []
    for defect, model in STRIKING:
        part = changes[(changes["id"] == defect) & (changes["model"] == model)]
        for r in part[part["change"].abs() > 0.005].head(2).itertuples():
            column = r.column.replace("Privacy Awareness Correlation", "ConfAIde correlation")
            lines.append([column, label(model), number(r.published), number(r.corrected), defect])
    return booktabs(["column", "model", "published", "corrected", ""], lines, "llrrl")


def online_table(run: Run) -> str:
    """The second paper's claims: verdicts of this run, of its placebo, and of the larger study."""
    named = {"this run": "online_claims", "larger study": "larger_study_claims"}
    found, claims = {}, {}
    for title, name in named.items():
        path = run.path / "tables" / f"{name}.csv"
        if path.exists():
            read = pd.read_csv(path).set_index("id")
            claims |= read["claim"].to_dict()
            found |= {title: read["verdict"], f"{title}, placebo": read["placebo"]}
    if not found:
        return "% the run has no notebook 24_claims\n"
    lines = [
        [i, text, *(verdicts.get(i, "–") for verdicts in found.values())]
        for i, text in claims.items()
    ]
    kinds = f"l{RAGGED}{{0.42\\linewidth}}" + f"{RAGGED}{{0.11\\linewidth}}" * len(found)
    return booktabs(["", "claim", *found], lines, kinds)


def write_paper_inputs(run: Run) -> list[Path]:
    """Write all tables of the manuscript; needs the results of notebooks 16 and 17."""
    folder = run.path / "paper"
    read = {n: pd.read_csv(run.path / f"{n}.csv") for n in ("claims", "audit", "audit_changes")}
    tables = {
        "dimensions": by_dimension(run.cells),
        "claims": claims_table(read["claims"]),
        "defects": defects_table(read["audit"]),
        "changes": changes_table(read["audit_changes"]),
        "online": online_table(run),
    }
    return [write_text(folder / f"{name}.tex", text) for name, text in tables.items()]


if __name__ == "__main__":
    write_paper_inputs(Run(Path(sys.argv[1])))
