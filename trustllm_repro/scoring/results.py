"""What a run is written as: tables (CSV, LaTeX), verify.csv, and every number a text quotes.

A quoted number has a name, which maps to a value, the text it is printed as, and the cells it rests
on: results.json, and results.tex for LaTeX. Each stage writes its part and merges all of them, so a
notebook can be run again alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from trustllm_repro.data.published import label
from trustllm_repro.errors import ReproError, SourceCorrupt
from trustllm_repro.escape import for_macro
from trustllm_repro.schema import OUR_JUDGE, Rule
from trustllm_repro.scoring.cells import FIELDS
from trustllm_repro.store.atomic import write_json, write_text

TIDY = FIELDS[1:]  # all but the table, which is the file
VERIFY = [
    "table", "row", "column", "published", "value", "difference", "rule", "verdict", "n", "reason"
]  # fmt: skip


def write_csv(path: Path, frame: pd.DataFrame, form: str | None = "%.6g") -> None:
    """By default with six significant digits: readable, and without the noise of other BLAS builds."""
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
    if not path.exists():
        raise ReproError(f"{path} does not exist", remedy=remedy)
    try:
        frame = pd.read_csv(path)
    except (ValueError, OSError) as e:  # pandas' parser errors are ValueErrors
        raise SourceCorrupt(f"{path} cannot be read: {e}", remedy=remedy) from e
    if list(frame.columns) != VERIFY:
        raise SourceCorrupt(f"{path} does not have the columns {', '.join(VERIFY)}", remedy=remedy)
    return frame


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
    path = run / "results.json"
    if not path.exists():
        raise ReproError(f"{path} does not exist", remedy="run `trustllm-repro reproduce` first")
    return _entries(path)


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        found, reason = None, str(e)
    else:
        reason = "not a JSON object"
    if not isinstance(found, dict):
        raise SourceCorrupt(
            f"{path} cannot be read: {reason}", remedy="delete it and run its notebook again"
        )
    return found


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
