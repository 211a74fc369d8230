"""Published numbers beside what the recorded answers give."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustllm_repro.data.published import label
from trustllm_repro.errors import SettingsError
from trustllm_repro.judges.registry import agreement
from trustllm_repro.schema import OUR_JUDGE, Rule
from trustllm_repro.scoring.run import EvaluatedModel, Run
from trustllm_repro.tasks import COLUMNS, DIMENSIONS

_BETTER = {(c.table, c.column): c.better for _, c in COLUMNS}
_KEYS = ["table", "model", "column"]


def compare(run: Run, table: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """One published table under every rule, a row a cell: `compare(run, "safety_jailbreak")`.

    Models without any recorded answer are left out.

    Args:
        table: as in `run.cells["table"]`.
        columns: some of its columns; all if empty.

    Returns:
        index model, column; columns published, authors (the value under the authors' rule),
        ci_low, ci_high (its 95 % interval), verdict, toolkit, corrected, our_judge (value by labels
        of our judge where none were recorded), n, n_unparsed, n_missing, better ("higher" or
        "lower") and reason (why there is no value).

    Raises:
        SettingsError: there is no such table or column.
    """
    part = run.cells[run.cells["table"] == table]
    known = list(dict.fromkeys(part["column"]))
    if part.empty or set(columns) - set(known):
        names = known or list(dict.fromkeys(run.cells["table"]))
        what = f"{table!r} has no column {sorted(set(columns) - set(known))}" if known else table
        raise SettingsError(f"no such cells: {what}", remedy=f"one of: {', '.join(names)}")
    part = part[part["column"].isin(columns)] if columns else part
    part = part.set_index(["model", "column"])
    of = {r: part[part["rule"] == r] for r in (*Rule, OUR_JUDGE)}
    own = of[Rule.AUTHORS]
    found = own[["published", "value", "ci_low", "ci_high", "verdict"]]
    found = found.rename(columns={"value": "authors"})
    for rule in (Rule.TOOLKIT, Rule.CORRECTED, OUR_JUDGE):
        found[rule.replace(" ", "_")] = of[rule]["value"].reindex(found.index)
    found[["n", "n_unparsed", "n_missing"]] = own[["n", "n_unparsed", "n_missing"]]
    found["better"] = [_BETTER.get((table, c), "") for _, c in found.index]
    found["reason"] = own["reason"]
    values = found[["authors", "toolkit", "corrected", "our_judge"]].notna().any(axis=1)
    models = values[values].index.get_level_values("model").unique()
    return found.loc[models]  # a model's columns together


def tasks_of(run: Run, dimension: str) -> pd.DataFrame:
    """What the tasks of a dimension ask: task, asks, source, items, models (with answers here)."""
    ledger = run.ledger
    return pd.DataFrame(
        {
            "task": t.title,
            "asks": t.asks,
            "source": t.source,
            "items": ledger.n_asked(t.id) if t.file else 0,
            "models": sum(ledger.has(t.id, m) for m in ledger.models),
        }
        for t in DIMENSIONS[dimension].TASKS
    )


def verdict_counts(run: Run) -> pd.DataFrame:
    """Published cells of each table by verdict: index table, a column (int) a verdict."""
    cells = run.cells
    part = cells[(cells["rule"] == Rule.AUTHORS) & cells["published"].notna()]
    return part.groupby(["table", "verdict"], sort=False).size().unstack(fill_value=0)


def tables_of(dimension: str) -> list[str]:
    """Tables of a dimension that answers can fill, in the order of the tasks' columns."""
    tasks = [t for t in DIMENSIONS[dimension].TASKS if t.live]
    wanted = [c.table for t in tasks for c in t.columns if c.metric is not None and not c.pooled]
    return list(dict.fromkeys(wanted))


def evaluated_cells(models: Sequence[EvaluatedModel], dimension: str = "") -> pd.DataFrame:
    """Values of models that answered themselves, a row a cell, corrected rule.

    Args:
        models: of `run.evaluated()`.
        dimension: its tables only; all if empty.

    Returns:
        index table, column, model (their rows; one that answered the miniature says so);
        columns value, ci_low, ci_high, judge_corrected, judge_corrected_low, judge_corrected_high
        (the value corrected for the judge's measured errors, with an interval that holds their
        uncertainty), n,
        n_unparsed, bound_low, bound_high (the value, had all unparsed answers counted against it,
        or for it), n_missing, better.
    """
    parts = [m.cells for m in models]
    cells = pd.concat(parts) if parts else pd.DataFrame(columns=[*_KEYS, "value"])
    cells = cells[cells["value"].notna() & (cells.get("rule", "") == Rule.CORRECTED)]
    if dimension:
        cells = cells[cells["table"].isin(tables_of(dimension))]
    cells["better"] = [_BETTER[k] for k in zip(cells["table"], cells["column"], strict=True)]
    shown = [
        "value", "ci_low", "ci_high", "judge_corrected", "judge_corrected_low", "judge_corrected_high", "n",
        "n_unparsed", "bound_low", "bound_high", "n_missing", "better",
    ]  # fmt: skip
    return cells.set_index(["table", "column", "model"]).reindex(columns=shown)


def published_range(run: Run) -> pd.DataFrame:
    """Lowest and highest published value: index table, column; columns min, max, models."""
    cells = run.cells
    part = cells[(cells["rule"] == Rule.AUTHORS) & cells["published"].notna()]
    spans = part.groupby(["table", "column"], sort=False)["published"].agg(["min", "max", "size"])
    return spans.rename(columns={"size": "models"})


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
