"""From a result's name to the ledger rows behind it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from trustllm_repro.errors import ReproError
from trustllm_repro.schema import OUR_JUDGE, Rule
from trustllm_repro.scoring.cells import Scorer
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.results import load
from trustllm_repro.scoring.run import Run
from trustllm_repro.tasks import COLUMNS
from trustllm_repro.tasks.base import Column, Task

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
    table, *row, column = cell[:2] if len(cell) == 2 else cell[:3]
    word = cell[3] if len(cell) > 3 else Rule.AUTHORS if row else Rule.CORRECTED
    rule = Rule.AUTHORS if word == OUR_JUDGE else Rule(word)
    ledger = replace(run.ledger, ours=word == OUR_JUDGE)
    parts = []
    for task, declared in COLUMNS:
        if task is None or (declared.table, declared.column) != (table, column):
            continue
        models = row or ledger.models
        if declared.pooled:
            facet = {declared.pooled: row[0]} if row else {}
            where = {**declared.where_for(rule), **facet}
            models, declared = ledger.models, replace(declared, where=where, pooled=None)
        parts += [_part(ledger, task, declared, m, rule) for m in models if ledger.has(task.id, m)]
    return [p for p in parts if len(p.rows)]


def _part(ledger: Ledger, task: Task, column: Column, model: str, rule: Rule) -> Part:
    """The ledger rows one model contributes to a cell."""
    answers = Scorer(ledger).chosen(task, column, model, rule)
    frame = ledger.frame(ledger.rows(task.id, model, rule, column.revisions(rule)))
    frame = frame[np.isin(frame["item"], answers.item)]
    sizes = frame.groupby(["status", "label"], observed=True).size()
    counts = {f"{status} {label}".strip(): int(n) for (status, label), n in sizes.items()}
    word = OUR_JUDGE if ledger.ours else rule
    return Part(f"{column.table} / {model} / {column.column} / {word}", counts, frame[SHOWN])
