"""Cells whose refusal labels were never recorded, by the labels of our own judge: a kind apart."""

from __future__ import annotations

import pandas as pd

from trustllm_repro.data.published import label
from trustllm_repro.judges.errors import agreement
from trustllm_repro.schema import OUR_JUDGE
from trustllm_repro.tasks import COLUMNS


def judged_table(cells: pd.DataFrame) -> pd.DataFrame:
    """One line a cell: both values, verdict, whose labels, and kappa of our judge on the task.

    Kappa is agreement with recorded labels of models left out of training, all forms of the task.
    """
    part = cells[cells["rule"] == OUR_JUDGE]
    names = ["table", "model", "column", "value", "published", "verdict", "n", "reason"]
    shown = part[names].rename(columns={"reason": "labels"})
    shown["model"] = shown["model"].map(label)
    return shown.assign(kappa=_kappas(part))


def judged_sentence(lines: pd.DataFrame) -> str:
    """How many cells of this kind came near the published number, and how far to trust them.

    Args:
        lines: of cells or of verify.csv; those of the three rules are left out.
    """
    part = lines[lines["rule"] == OUR_JUDGE]
    if part.empty:
        return "No further cell rests on labels of our own refusal judge: this ledger holds none."
    first = part["verdict"].str.split().str[0].value_counts()
    kappas = _kappas(part)
    return (
        f"Not counted there, as their refusal labels were never recorded: {len(part)} cells rest "
        f"on labels of our own judge, {first.get('reproduced', 0)} reproduced, "
        f"{first.get('near', 0)} near, {first.get('differs', 0)} differ. On these tasks it agrees "
        f"with recorded labels at a kappa of {kappas.min():.2f} to {kappas.max():.2f}."
    )


def _kappas(part: pd.DataFrame) -> pd.Series:
    tasks = {(c.table, c.column): t.id for t, c in COLUMNS if t}
    keys = zip(part["table"], part["column"], strict=True)
    return pd.Series([agreement(tasks[k]) for k in keys], index=part.index, dtype=float)
