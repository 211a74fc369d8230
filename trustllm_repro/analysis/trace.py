"""From a result's name to the ledger rows behind it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from trustllm_repro.errors import ReproError
from trustllm_repro.schema import OUR_JUDGE, Rule
from trustllm_repro.scoring.cells import Scorer
from trustllm_repro.scoring.results import load
from trustllm_repro.scoring.run import Run
from trustllm_repro.tasks import COLUMNS


def trace_result(run_dir: Path, name: str) -> tuple[str, dict[str, pd.DataFrame]]:
    """Text of a quoted number, and the verdicts that each cell behind it rests on.

    Returns:
        the text; and "table / model / column / rule" -> item, gold, status, label, number, pair,
        the task's facets, file, edition (of the answer) and path (where it was stored).

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
    parts = (part for cell in entries[name]["cells"] for part in _parts(run, cell))
    return str(entries[name]["text"]), {title: rows for title, rows in parts if len(rows)}


def _parts(run: Run, cell: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """One part per model and rule; (table, column) stands for all recorded models."""
    table, *row, column = cell[:2] if len(cell) == 2 else cell[:3]
    word = cell[3] if len(cell) > 3 else Rule.AUTHORS if row else Rule.CORRECTED
    rule = Rule.AUTHORS if word == OUR_JUDGE else Rule(word)
    ledger = replace(run.ledger, ours=word == OUR_JUDGE)
    scorer = Scorer(ledger)
    for task, declared in COLUMNS:
        if task is None or (declared.table, declared.column) != (table, column):
            continue
        models = row or ledger.models
        if declared.pooled:
            facet = {declared.pooled: row[0]} if row else {}
            where = {**declared.where_for(rule), **facet}
            models, declared = ledger.models, replace(declared, where=where, pooled=None)
        for model in models:
            answers = scorer.chosen(task, declared, model, rule).drop(columns="model")
            made = ledger.rows(task.id, rule, declared.revisions(rule)).query("model == @model")
            made = made[["item", "edition", "source"]].rename(columns={"source": "path"})
            yield f"{table} / {model} / {column} / {word}", answers.merge(made, on="item")
