"""What the README says of defects and speed is what ledger and measurements say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trustllm_repro.analysis.compare import Evidence, direction_search
from trustllm_repro.analysis.defects import DEFECTS
from trustllm_repro.data.published import MODELS
from trustllm_repro.online.studies.evaluate import open_study
from trustllm_repro.paths import data_dir, project_root
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.run import replay_ledger


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return Evidence(replay_ledger(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def readme() -> str:
    return " ".join((project_root() / "README.md").read_text(encoding="utf-8").split())


def value(e: Evidence, table: str, column: str, model: str, rule: Rule = Rule.AUTHORS) -> str:
    return f"{e.recomputed(table, column, rule)[model]:.2f}"


def test_counts_of_cells(evidence: Evidence, readme: str) -> None:
    c = evidence.run.cells
    c = c[(c["rule"] == Rule.AUTHORS) & c["published"].notna()]
    made, right = c["value"].notna(), c["verdict"] == "reproduced"
    assert f"Of {len(c):,} published cells in {c['table'].nunique()} tables" in readme
    assert f"allow {made.sum()} to be recomputed" in readme
    assert f"{right.sum()} of them agree within 0.005" in readme
    later = set(c.loc[made, "model"]) - set(MODELS) - {""}
    twelve = {m for m in c.loc[made, "model"] if m in MODELS}
    assert (len(twelve), later) == (12, {"llama3-70b"})
    assert made[c["model"] == "llama3-70b"].sum() == 1  # the paper: all but one


def test_hallucination(evidence: Evidence, readme: str) -> None:
    old, new = (
        [value(evidence, "truth_hallucination", c, "gpt-4", r) for c in ("KGD", "QA")]
        for r in (Rule.AUTHORS, Rule.CORRECTED)
    )
    assert f"GPT-4's {old[0]} and {old[1]} are {new[0]} and {new[1]}" in readme


def test_refusals_that_choose(evidence: Evidence, readme: str) -> None:
    chosen, refused = evidence.choosing("fairness/preference", "plain")[["chosen", "refused"]].sum()
    moral, of = evidence.choosing("ethics/moralchoice_high").loc[
        "mistral-7b", ["chosen", "refused"]
    ]
    cell = ("ethics_moralchoice_high", "RtA", "mistral-7b")
    old, new = (value(evidence, *cell, r) for r in (Rule.AUTHORS, Rule.CORRECTED))
    assert (
        f'of {refused:,} "refusals" to state a preference {chosen} are read as stating one'
        in readme
    )
    assert f"as do {moral} of Mistral-7b's {of} in MoralChoice ({old} becomes {new})" in readme


def test_confaide(evidence: Evidence, readme: str) -> None:
    fewest = evidence.cells("privacy_confaide", "level_2")["n"].min()
    assert f"one model's correlation rests on {fewest} of 196 answers" in readme


def test_leaked_addresses(evidence: Evidence, readme: str) -> None:
    """The sentence holds of these models only, and only as long as no address was unguessable."""
    hits, zero_shot, unguessable = evidence.leaked()
    assert zero_shot == unguessable == 0
    assert f"all {hits} true e-mail addresses that these models gave can be guessed" in readme


def test_codah_and_the_average_rank(evidence: Evidence, readme: str) -> None:
    old, new = (
        value(evidence, "truth_internal", "CODAH", "gpt-4", r)
        for r in (Rule.AUTHORS, Rule.CORRECTED)
    )
    assert f"({old} becomes {new} for GPT-4)" in readme
    assert direction_search()["turned"].iloc[0] == "Disparagement Sex"


def test_the_share_of_option_0_in_codah(evidence: Evidence, readme: str) -> None:
    asked = evidence.run.ledger.asked("truthfulness/internal")
    gold = asked["gold"][asked["source"] == "codah"]
    assert f"the right one in {(gold == '0').sum()} of {len(gold)} questions" in readme


def test_the_columns_of_jailbreak_are_exchanged_for_all_but_one(evidence: Evidence) -> None:
    found = DEFECTS["A3"].evidence(evidence)
    assert "of 11 models hold the other half's prompts, those of mistral-7b do not" in found


def test_the_number_of_defects(readme: str) -> None:
    assert f"proves {len(DEFECTS)} defects" in readme


def test_the_miniature_follows_the_labels_of_the_real_file() -> None:
    text = (Path(project_root()) / "data" / "miniature" / "README.md").read_text(encoding="utf-8")
    assert "summary made up" not in " ".join(text.split())


def test_other_engines() -> None:
    lines = (project_root() / "README.md").read_text(encoding="utf-8").splitlines()
    facts = json.loads((data_dir() / "measurements" / "sequences.json").read_text("utf-8"))
    rows = pd.DataFrame(facts["rows"]).pivot(index="contender", columns="sequences", values="ratio")
    for named, contender in (
        ("llama.cpp (llama-cpp-python", "llama.cpp"),
        ("transformers' `generate` |", "generate"),
        ("transformers' `generate_batch`", "generate_batch"),
    ):
        (line,) = [text for text in lines if text.startswith(f"| {named}")]
        shown = [float(cell.strip() or "nan") for cell in line.split("|")[2:-1]]
        np.testing.assert_array_equal(shown, rows.loc[contender])


def test_lm_polygraph(readme: str) -> None:
    path = data_dir() / "measurements" / "polygraph.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    whole, less = found["ratios"].values()
    assert (
        f"takes {whole['time']:.1f} times as long and {whole['peak_memory']:.1f} times the memory, "
        f"{less['time']:.1f} and {less['peak_memory']:.1f} times if told" in readme
    )
    assert f"({found['settings']['dtype']}, `data/measurements/{path.name}`)" in readme


def test_readers_of_rated_answers(readme: str) -> None:
    """Every row of the table of readers, and that it leaves out no model of the larger study."""
    f = open_study(data_dir() / "online").figures.query(
        "task == 'harm' and labels == 'undisputed' and level == 'hidden states'"
        " and (risk == 0.05 or metric == 'auroc')"
    )
    f = f.astype({"model": str, "monitor": str, "metric": str})
    both = f.pivot(index=["model", "monitor", "permuted"], columns="metric", values="value")
    wide, sham = (both.xs(p, level="permuted") for p in (False, True))
    lines = (project_root() / "README.md").read_text(encoding="utf-8").split("| read by |", 1)[1]
    table = [line.strip("| ").split(" | ") for line in lines.split("\n\n", 1)[0].split("\n")[2:]]
    model, seen = "", set()
    for cells in table:
        *name, monitor, auroc, by_32, by_18pct, safe = (c.strip() for c in cells)
        model = name[0] if name else model
        row = wide.loc[(model, monitor), :]
        seen.add(model)
        said = [f"{row[m]:.2f}" for m in ("auroc", "stopped_32", "stopped_18pct")]
        rate, most = row["false_positive_rate"], row["false_positive_upper"]
        assert [auroc, by_32, by_18pct] == said
        assert safe == f"{rate:.3f} (at most {most:.3f})"
    assert seen == set(wide.index.get_level_values("model"))
    assert len(table) == 8
    sham = sham[sham.index.isin({cells[-5] for cells in table}, level="monitor")]
    auroc, by_32 = (
        "{:.2f} to {:.2f}".format(*sham[m].agg(["min", "max"])) for m in ("auroc", "stopped_32")
    )
    assert f"an AUROC of {auroc} and stop {by_32} within 32 tokens" in readme
