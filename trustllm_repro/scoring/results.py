"""From the ledger to results: every cell of every published table under every rule, and what a run
is written as: scored cells, tables (CSV, LaTeX), verify.csv, and every number that a text quotes.

A quoted number has a name, a value, the text it is printed as, and the cells it rests on
(results.json, results.tex). Each stage writes its part and merges all, so it can be run again alone.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from trustllm_repro.data.published import LATER, MODELS, Published, label
from trustllm_repro.errors import SourceCorrupt
from trustllm_repro.escape import for_macro
from trustllm_repro.metrics.base import Metric, has, matching
from trustllm_repro.metrics.judge_error import JudgeError, judge_corrected
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import OUR_JUDGE, RULES, Rule, Score, Status
from trustllm_repro.scoring.ledger import Ledger, read_parquet, write_parquet
from trustllm_repro.store.archive import sha256
from trustllm_repro.store.atomic import reading, write_json, write_text, write_with
from trustllm_repro.tasks import COLUMNS
from trustllm_repro.tasks.base import Column, Task

REPRODUCED, NEAR = 0.005, 0.02
VERDICTS = ["reproduced", "near", "differs", "not recorded"]
FIELDS = [
    "table", "model", "column", "value", "n", "n_unparsed", "n_missing", "ci_low", "ci_high",
    "rule", "source", "published", "difference", "verdict", "reason",
    "bound_low", "bound_high", "judge_corrected", "judge_corrected_low", "judge_corrected_high",
]  # fmt: skip
# What is known of the judge that labelled a task's answers; None where labels need no correction.
Errors = Callable[[str], JudgeError | None]
CELLS = "cells.parquet"
_MARK = b"scored from"
REMEDY = "run `trustllm-repro replay` or `evaluate` again; cells are made from the ledger"


def verdict(value: float, published: float) -> str:
    """Word for the distance between a recomputed and a published number."""
    if math.isnan(value):
        return "not recorded"
    if math.isnan(published):
        return "not published"
    gap = abs(value - published)
    # 1e-9 keeps a difference of exactly 0.005 on the near side of rounding.
    return "reproduced" if gap <= REPRODUCED + 1e-9 else "near" if gap <= NEAR + 1e-9 else "differs"


@dataclass
class Scorer:
    """Scores of a ledger. Equal work (same answers, same metric) is done once."""

    ledger: Ledger
    errors: Errors = lambda task: None
    _done: dict[tuple, Score] = field(default_factory=dict)

    def score(self, task: Task | None, column: Column, row: str, rule: Rule) -> Score:
        """One cell. An absent value is NaN with its reason."""
        metric = column.metric_for(rule)
        if task is None or metric is None:
            lacking = f"the rule {rule} needs inputs that were never recorded"
            return Score(math.nan, reason=column.gap or (lacking if column.metric else ""))
        absent = [m for m in MODELS if not self.ledger.has(task.id, m)] if column.pooled else []
        if absent:
            reason = "pools all 16 models; no recorded answers of " + ", ".join(absent)
            return Score(math.nan, reason=reason)
        known = column.pooled or self.ledger.has(task.id, row)
        answers = self.chosen(task, column, row, rule) if known else ()
        if len(answers) == 0:
            return Score(math.nan, reason=self._nothing_of(task, column, row))
        score = self._measured(answers, metric, column, row)
        if not score.known and column.gap:
            score = replace(score, reason=f"{score.reason}; {column.gap}")
        error = self.errors(task.id) if score.known else None
        found = judge_corrected(metric, answers, error, _seed(column, row)) if error else None
        names = ("judge_corrected", "judge_corrected_low", "judge_corrected_high")
        return replace(score, **dict(zip(names, found, strict=True))) if found else score

    def _measured(self, answers: pd.DataFrame, metric: Metric, column: Column, row: str) -> Score:
        hashes = pd.util.hash_pandas_object(answers[["status", "label", "number", "item"]])
        key = (metric, row, answers.attrs["asked"], hashes.to_numpy().tobytes())
        if key not in self._done:
            self._done[key] = metric.measure(answers, _seed(column, row))
        return self._done[key]

    def chosen(self, task: Task, column: Column, row: str, rule: Rule) -> pd.DataFrame:
        """The answers a cell rests on; those of all models where the row is no model."""
        if column.pooled:
            where = {**column.where_for(rule), column.pooled: row}
            narrow = replace(column, where=where, pooled=None)
            parts = [self.chosen(task, narrow, m, rule) for m in MODELS]
            pooled = pd.concat(parts, ignore_index=True)
            pooled.attrs["asked"] = sum(p.attrs["asked"] for p in parts)
            return pooled
        answers = self.ledger.answers(task.id, row, rule, column.revisions(rule))
        mask = _mask(answers, column, rule)
        found = answers if mask.all() else answers[mask].reset_index(drop=True)
        # What else a certain file should hold is not known.
        whole = found if "file" in column.where_for(rule) else self.ledger.asked(task.id)
        found.attrs["asked"] = int(_mask(whole, column, rule).sum())
        return found

    def _nothing_of(self, task: Task, column: Column, model: str) -> str:
        if model in self.ledger.models:
            return column.gap or f"no recorded answers of {model} to {task.title}"
        if model in LATER:
            return f"{model} joined the leaderboard after the paper; no answers were recorded"
        return f"no recorded answers of {model} in this source"


def _seed(column: Column, row: str) -> int:
    """Equal for all rules, so that rules which read alike agree to the last bit."""
    return zlib.crc32(f"{column.table}|{row}|{column.column}".encode())


def _mask(answers: pd.DataFrame, column: Column, rule: Rule) -> np.ndarray:
    """Answers, or items, that a column rests on."""
    mask = matching(answers, column.where_for(rule))
    for facet, value in column.without.items():
        mask &= ~matching(answers, {facet: value})
    return mask


def score_cells(
    ledger: Ledger,
    published: Published,
    rules: Sequence[Rule] = RULES,
    errors: Errors = lambda task: None,
) -> pd.DataFrame:
    """All cells of all tables, with the columns FIELDS.

    A row that is not published appears only where it has a value, or bounds for one. A cell whose
    labels were never recorded has a further line, OUR_JUDGE, where our judge's give it a value.
    """
    scorer, ours, lines = Scorer(ledger, errors), Scorer(replace(ledger, ours=True)), []
    for task, column in COLUMNS:
        rows = published.rows(column.table)
        if column.metric is not None and not column.pooled:
            rows += [m for m in ledger.models if m not in rows]  # which the table does not know
        for row in rows:
            cell = published.cells.get((column.table, row, column.column))
            scores = {str(rule): scorer.score(task, column, row, rule) for rule in rules}
            authors = scores.get(Rule.AUTHORS)
            lacking = cell and authors and not authors.known
            if lacking and task and ledger.has(task.id, row, [OUR_JUDGE]):
                score = ours.score(task, column, row, Rule.AUTHORS)
                said = scorer.chosen(task, column, row, Rule.AUTHORS)
                unlabelled = has(said, Status.UNLABELLED).sum()
                reason = f"labels of {unlabelled} answers are our refusal judge's"
                scores |= {OUR_JUDGE: replace(score, reason=reason)} if score.known else {}
            for rule, score in scores.items():
                if cell or score.known or not math.isnan(score.bound_low):
                    lines.append(asdict(score) | {
                        "table": column.table, "model": row, "column": column.column, "rule": rule,
                        "source": cell.source if cell else "",
                        "published": cell.value if cell else math.nan,
                    })  # fmt: skip
    frame = pd.DataFrame(lines, columns=FIELDS)
    frame["difference"] = frame["value"] - frame["published"]
    frame["verdict"] = [
        verdict(*pair) for pair in zip(frame["value"], frame["published"], strict=True)
    ]
    frame.loc[frame["rule"] == OUR_JUDGE, "verdict"] += f" with {OUR_JUDGE}"
    order = {t: i for i, t in enumerate(published.tables)}
    return frame.sort_values("table", key=lambda s: s.map(order), kind="stable", ignore_index=True)


def committed_ledger() -> Path:
    """The committed verdicts of the recorded models, with their scored cells."""
    return data_dir() / "ledger"


def scored_from(folder: Path) -> str:
    """Digest of everything scores rest on: a folder's verdicts and items, the published numbers,
    and the measured errors of our judges."""
    files = [
        folder / "items.parquet",
        folder / "ledger.parquet",
        data_dir() / "published" / "cells.csv",
        data_dir() / "measurements" / "judges.json",
    ]
    return sha256("".join(sha256(p.read_bytes()) for p in files if p.exists()).encode())


def write_cells(cells: pd.DataFrame, folder: Path) -> Path:
    """Write the cells of the ledger that lies in `folder`, whole or not at all."""
    table = pa.Table.from_pandas(cells, preserve_index=False)
    mark = {**(table.schema.metadata or {}), _MARK: scored_from(folder).encode()}
    table = table.replace_schema_metadata(mark)
    return write_with(folder / CELLS, lambda p: write_parquet(table, p))


def read_cells(folder: Path) -> pd.DataFrame:
    """The cells of a folder. Raises SourceMissing or SourceCorrupt: there are none, they cannot be
    read, or they were scored from other verdicts than those that lie there."""
    path = folder / CELLS
    table = read_parquet(path, REMEDY)
    if (table.schema.metadata or {}).get(_MARK) != scored_from(folder).encode():
        raise SourceCorrupt(f"{path} was scored from another ledger or judge", remedy=REMEDY)
    return table.to_pandas()


# --- tables

TIDY = FIELDS[1:]  # all but the table, which is the file
VERIFY = [
    "table", "row", "column", "published", "value", "difference", "rule", "verdict", "n", "reason"
]  # fmt: skip


def write_csv(path: Path, frame: pd.DataFrame, form: str | None = "%.6g") -> None:
    """By default six significant digits: readable, and without the noise of other BLAS builds."""
    write_text(path, frame.to_csv(index=False, float_format=form, lineterminator="\n"))


def write_tables(cells: pd.DataFrame, folder: Path, rule: Rule = Rule.AUTHORS) -> None:
    """tables/<id>.csv and .tex for every published table in `cells`."""
    for table, part in cells.groupby("table", sort=False):
        write_csv(folder / f"{table}.csv", part[TIDY])
        write_text(folder / f"{table}.tex", latex(part, rule))


def verify_frame(cells: pd.DataFrame) -> pd.DataFrame:
    """One line per published cell under the authors' rule, then those of our judge's labels."""
    lines = cells[cells["rule"].isin([Rule.AUTHORS, OUR_JUDGE]) & cells["published"].notna()]
    lines = lines.sort_values("rule", key=lambda s: s == OUR_JUDGE, kind="stable")
    return lines.rename(columns={"model": "row"})[VERIFY].reset_index(drop=True)


def read_verify(path: Path) -> pd.DataFrame:
    """verify.csv of a run; a ReproError if there is none that can be read."""
    remedy = "run `trustllm-repro replay` or `reproduce`"
    with reading(path, remedy):
        frame = pd.read_csv(path)
    if list(frame.columns) != VERIFY:
        raise SourceCorrupt(f"{path} does not have the columns {', '.join(VERIFY)}", remedy=remedy)
    return frame


def verdict_counts(lines: pd.DataFrame) -> pd.DataFrame:
    """Published cells by table and verdict, authors' rule; `lines`: cells or verify.csv."""
    known = lines[(lines["rule"] == Rule.AUTHORS) & lines["published"].notna()]
    counts = known.groupby(["table", "verdict"], sort=False).size().unstack(fill_value=0)
    return counts.reindex(columns=VERDICTS, fill_value=0)


def number(value: float, digits: int = 3) -> str:
    """Fixed digits without a leading zero's ambiguity; a dash where there is no number."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def latex(part: pd.DataFrame, rule: Rule = Rule.AUTHORS) -> str:
    """Booktabs table: value under one rule, and the published one in brackets.

    Rows nothing was recorded for are left to the CSV; a dash marks a cell without a value.
    """
    table, part = str(part["table"].iloc[0]), part[part["rule"] == rule]
    wide = part.pivot(index="model", columns="column", values=["value", "published"])
    wide = wide.loc[part["model"].unique()]  # in published order, as the columns are
    value, published = (wide[v][part["column"].unique()] for v in ("value", "published"))
    value = value[value.notna().any(axis=1)]
    if value.empty:
        return f"% {table}: no cell can be recomputed from the recorded answers\n"
    text = value.map(number) + " (" + published.loc[value.index].map(number) + ")"
    text = text.where(value.notna(), "–")
    text.index = pd.Index([label(m) for m in text.index], name="model")
    text.columns.name = None
    text = text.reset_index()
    styler = (
        text.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    )
    body = styler.to_latex(hrules=True, column_format="l" + "r" * (text.shape[1] - 1))
    name = "authors'" if rule is Rule.AUTHORS else str(rule)
    note = f"% {table}: recomputed under the {name} rule (published); all rules in {table}.csv\n"
    return note + body.replace("–", "--")


# --- quoted numbers

HEAD = r"""% Written by trustllm-repro; do not edit. Use: \input{results.tex}, then \result{name}.
\newcommand{\result}[1]{\ifcsname result@#1\endcsname\csname result@#1\endcsname\else
  \errmessage{trustllm-repro: there is no result named #1}\fi}
\newcommand{\defineresult}[2]{\expandafter\def\csname result@#1\endcsname{#2}}
"""


def latex_escape(text: str) -> str:
    """Text as it must be written in LaTeX; nothing in it can act as a command."""
    table = {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
        "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "–": "--", "→": r"$\to$", "’": "'",
    }  # fmt: skip
    return "".join(table.get(c, c) for c in text)


@dataclass
class Results:
    """Collects results of one stage."""

    stage: str
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        value: float | int | str,
        form: str = "",
        cells: Iterable[Iterable[str]] = (),
    ) -> None:
        """Record a result. Names are lower case with dots; `form`: a format such as ".3f"; `cells`:
        (table, column) or (table, row, column[, rule])."""
        missing = isinstance(value, float) and math.isnan(value)
        self.entries[name] = {
            "value": None if missing else value,
            "text": "--" if missing else format(value, form),
            "cells": [list(c) for c in cells],
        }

    def save(self, run: Path) -> None:
        """Write this stage's part, and all parts as results.json and results.tex."""
        write_json(run / "results" / f"{self.stage}.json", self.entries)
        entries: dict[str, dict[str, Any]] = {}
        for part in sorted((run / "results").glob("*.json")):
            entries |= _entries(part)
        write_json(run / "results.json", entries)
        lines = [
            f"\\defineresult{{{for_macro(name)}}}{{{latex_escape(entry['text'])}}}\n"
            for name, entry in sorted(entries.items())
        ]
        write_text(run / "results.tex", HEAD + "".join(lines))


def load(run: Path) -> dict[str, dict[str, Any]]:
    """results.json of a run; a ReproError if there is none that can be read."""
    return _entries(run / "results.json")


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    remedy = "run its notebook or `trustllm-repro reproduce`; delete a damaged file first"
    with reading(path, remedy):
        return dict(json.loads(path.read_text(encoding="utf-8")).items())  # fails if no object


def cell_results(cells: pd.DataFrame) -> Results:
    """Every recomputed cell under the name table/row/column/rule, and the counts of verdicts."""
    out = Results("cells")
    known = cells[cells["value"].notna()]
    for r in known.itertuples():
        name = f"{r.table}/{r.model}/{r.column}/{r.rule}"
        out.add(name, float(r.value), ".3f", [(r.table, r.model, r.column, r.rule)])
    authors = cells[(cells["rule"] == "authors") & cells["published"].notna()]
    ours = cells[cells["rule"] == OUR_JUDGE]
    for verdict, n in pd.concat([authors, ours])["verdict"].value_counts().items():
        out.add(f"verify.{verdict.replace(' ', '-')}", int(n))
    out.add("verify.cells", len(authors))
    out.add("verify.tables", int(authors["table"].nunique()))
    read = authors[authors["verdict"] != "not recorded"]
    out.add("verify.recomputed", len(read))
    share = float((read["verdict"] == "reproduced").mean()) if len(read) else math.nan
    out.add("verify.share", 100 * share, ".1f")
    return out
