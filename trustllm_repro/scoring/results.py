"""Every number a text quotes, by name: results.json, and results.tex for LaTeX.

A name maps to a value, the text it is printed as, and the cells it rests on. Parts are written by
the stages and merged, so a notebook can be run again alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from trustllm_repro.errors import ReproError, SourceCorrupt
from trustllm_repro.escape import for_macro
from trustllm_repro.schema import OUR_JUDGE
from trustllm_repro.store.atomic import write_json, write_text

PARTS = "results"
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
        """Record a result; `form` is a format such as ".3f". Names are lower case with dots.

        `cells` are (table, column) or (table, row, column[, rule]).
        """
        missing = isinstance(value, float) and math.isnan(value)
        self.entries[name] = {
            "value": None if missing else value,
            "text": "--" if missing else format(value, form),
            "cells": [list(c) for c in cells],
        }

    def save(self, run: Path) -> None:
        """Write this stage's part and merge all parts into results.json and results.tex."""
        write_json(run / PARTS / f"{self.stage}.json", self.entries)
        merge(run)


def merge(run: Path) -> dict[str, dict[str, Any]]:
    """All parts of a run as results.json and results.tex."""
    entries: dict[str, dict[str, Any]] = {}
    for part in sorted((run / PARTS).glob("*.json")):
        entries |= _entries(part)
    write_json(run / "results.json", entries)
    lines = [
        f"\\defineresult{{{for_macro(name)}}}{{{latex_escape(entry['text'])}}}"
        for name, entry in sorted(entries.items())
    ]
    write_text(run / "results.tex", HEAD + "\n".join(lines) + "\n")
    return entries


def load(run: Path) -> dict[str, dict[str, Any]]:
    """results.json of a run.

    Raises:
        ReproError: the run has none, or it cannot be read.
    """
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
