"""From a result's name to the ledger rows behind it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from trustllm_repro.errors import ReproError
from trustllm_repro.nouns import Rule
from trustllm_repro.report.results import load
from trustllm_repro.report.run import Run
from trustllm_repro.report.scores import Scorer
from trustllm_repro.tasks import COLUMNS

SHOWN = ["item", "facets", "gold", "status", "label", "number", "edition", "source"]


@dataclass(frozen=True)
class Part:
    """The verdicts one cell rests on."""

    title: str
    counts: dict[str, int]
    rows: pd.DataFrame


@dataclass(frozen=True)
class Trace:
    text: str
    cells: list[Part]


def trace_result(run_dir: Path, name: str) -> Trace:
    """Ledger rows behind a quoted number.

    Raises:
        ReproError: no result has that name; close names are suggested.
    """
    entries = load(run_dir)
    if name not in entries:
        close = difflib.get_close_matches(name, entries, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
        raise ReproError(
            f"no result named {name!r} in {run_dir}", remedy=hint or "see the names in results.json"
        )
    run = Run(Path(run_dir))
    parts = [p for cell in entries[name]["cells"] for p in _parts(run, cell)]
    return Trace(str(entries[name]["text"]), parts)


def _parts(run: Run, cell: list[str]) -> list[Part]:
    """One part per model and rule; (table, column) stands for all recorded models."""
    if len(cell) == 2:
        table, column = cell
        wanted = [(m, Rule.CORRECTED) for m in run.ledger.models]
    else:
        table, row, column = cell[:3]
        wanted = [(row, Rule(cell[3]) if len(cell) > 3 else Rule.AUTHORS)]
    found = [(t, c) for t, c in COLUMNS if (c.table, c.column) == (table, column) and t]
    scorer, parts = Scorer(run.ledger), []
    for task, declared in found:
        for row, rule in wanted:
            if declared.pooled or not run.ledger.has(task.id, row):
                continue
            answers = scorer.chosen(task, declared, row, rule)
            rows = run.ledger.rows(task.id, row, rule, declared.editions(rule))
            frame = run.ledger.frame(rows)
            frame = frame[np.isin(frame["item"], answers.item)]
            counts = {
                f"{s} {label}".strip(): int(n)
                for (s, label), n in frame.groupby(["status", "label"], observed=True)
                .size()
                .items()
            }
            parts.append(Part(f"{table} / {row} / {column} / {rule}", counts, frame[SHOWN]))
    return parts
