"""Ranking over all tasks, with intervals on the ranks (notebook 16)."""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd

from trustllm_repro.data.published import MODELS, published
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.cells import Scorer
from trustllm_repro.scoring.run import EvaluatedModel, Run
from trustllm_repro.tasks import COLUMNS
from trustllm_repro.tasks.base import Column, Task

LEADERBOARDS = tuple(
    f"leaderboard_{d}"
    for d in ("truthfulness", "safety", "fairness", "robustness", "privacy", "ethics")
)
# Columns of the public leaderboard where less is better. Persona Sycophancy is not one: it is
# similarity to the neutral answer less similarity to the sycophantic one.
LOWER = {c.column for _, c in COLUMNS if c.table in LEADERBOARDS and c.lower}


def leaderboard(run: Run | None = None, rule: Rule | str | None = None) -> pd.DataFrame:
    """16 models x 31 columns (table, column): published values.

    With a run, those that can be recomputed under `rule` (default: the authors') are.
    """
    facts = published()
    values = {
        (t, c): {m: facts.value(t, m, c) for m in MODELS}
        for t in LEADERBOARDS
        for c in facts.columns(t)
    }
    frame = pd.DataFrame(values, index=list(MODELS)).astype(float)
    if run is not None:
        frame.update(_values(run, Rule(rule or Rule.AUTHORS)))
    return frame


def _values(run: Run, rule: Rule) -> pd.DataFrame:
    """Recomputed values of the leaderboards: models x (table, column)."""
    cells = run.cells
    part = cells[(cells["rule"] == rule) & cells["table"].isin(LEADERBOARDS)]
    return part.pivot(index="model", columns=["table", "column"], values="value")


def ranks(frame: pd.DataFrame) -> pd.DataFrame:
    """Rank per column, 1 = best; equal values share the better rank, absent ones have none."""
    signs = pd.Series([1 if c in LOWER else -1 for _, c in frame.columns], index=frame.columns)
    return (frame * signs).rank(method="min")


def recomputed(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Which cells of a leaderboard frame come from recorded answers: the same shape, bool."""
    return _values(run, Rule.AUTHORS).reindex_like(frame).notna()


def rank_intervals(
    run: Run, rule: Rule | str = Rule.AUTHORS, resamples: int = 1000
) -> pd.DataFrame:
    """Mean rank per model with a 95 % bootstrap interval over items, best model first.

    Columns: model, mean_rank, low, high, tasks_recomputed, tasks (numbers of columns), published
    (the average rank of the public leaderboard).

    Resamples the items of every recomputed cell; published-only cells stay fixed. Models answer
    the same items, so one draw of items serves all models of a column (paired bootstrap). Cells
    without recorded answers carry no sampling error here, so intervals of models with few
    recomputed columns are too narrow.
    """
    rule = Rule(rule)
    frame = leaderboard(run, rule)
    # (draws, models, columns); starts as the point values everywhere.
    cube = np.repeat(frame.to_numpy()[None], resamples, axis=0)
    scorer, drawn = Scorer(run.ledger), np.zeros(frame.shape, dtype=bool)
    for task, column in COLUMNS:
        key = (column.table, column.column)
        if task is None or key not in frame.columns:
            continue
        j = list(frame.columns).index(key)
        for i, model in enumerate(frame.index):
            draws = _draws(scorer, task, column, model, rule, resamples)
            if draws is not None:
                cube[:, i, j], drawn[i, j] = draws, True
    signs = np.array([1 if c in LOWER else -1 for _, c in frame.columns])
    order = _rank_min(cube * signs)
    with np.errstate(invalid="ignore"):
        means = np.nanmean(order, axis=2)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    table = pd.DataFrame(
        {
            "model": frame.index,
            "mean_rank": ranks(frame).mean(axis=1).to_numpy(),
            "low": low,
            "high": high,
            "tasks_recomputed": drawn.sum(axis=1),
            "tasks": frame.notna().sum(axis=1).to_numpy(),
            "published": published_average_rank().reindex(frame.index).to_numpy(),
        }
    )
    return table.sort_values("mean_rank", ignore_index=True)


def published_average_rank() -> pd.Series:
    """The public leaderboard's own average rank, by model."""
    facts = published()
    return pd.Series({m: facts.value("overall_average_rank", m, "average rank") for m in MODELS})


def _rank_min(values: np.ndarray) -> np.ndarray:
    """Ranks along the model axis of (draws, models, columns); ties share the better rank."""
    better = (values[:, None, :, :] < values[:, :, None, :]).sum(axis=2)
    return np.where(np.isnan(values), np.nan, better + 1.0)


def _draws(
    scorer: Scorer, task: Task, column: Column, model: str, rule: Rule, resamples: int
) -> np.ndarray | None:
    """Bootstrap draws of one cell, shape (resamples,); None where there is no value.

    The generator depends on the column only and answers are in item order, so complete models
    see the same items in each draw.
    """
    metric = column.metric_for(rule)
    if metric is None or metric.interval == "none" or not scorer.ledger.has(task.id, model):
        return None
    answers = scorer.chosen(task, column, model, rule)
    if len(answers) == 0 or metric.why_not(answers):
        return None
    samples = metric.samples(answers)
    if min(len(s) for s in samples) == 0:
        return None
    rng = np.random.default_rng(zlib.crc32(f"{column.table}|{column.column}".encode()))
    picks = [s[rng.integers(0, len(s), (resamples, len(s)))] for s in samples]
    draws = np.asarray(metric.statistic(*picks, axis=-1))
    value = float(metric.statistic(*samples))
    return np.where(np.isnan(draws), value, draws)


def standing(run: EvaluatedModel) -> pd.DataFrame:
    """One line per leaderboard column: the model's value and its place among the published models.

    Columns: table, column, better, value, ci_low, ci_high, likelihood, median, place, of, quantile.
    `place` 1 is best among the published models and this one; `quantile` is the share of published
    models it is at least as good as. Published values are those of the paper, whose rules differ
    in places from the corrected one (17_audit): a place is an orientation, not a test.
    """
    field = leaderboard().rename_axis(columns=["table", "column"])
    generated = next((r for r in run.rows if "likelihood" not in r), "")
    second = next((r for r in run.rows if "likelihood" in r), "")
    own, other = (
        run.cells[run.cells["model"] == row].set_index(["table", "column"]).reindex(field.columns)
        for row in (generated, second)
    )
    lower = field.columns.get_level_values("column").isin(LOWER)
    lines = pd.DataFrame(
        {
            "better": np.where(lower, "lower", "higher"),
            **{n: own[n] for n in ("value", "ci_low", "ci_high")},
            "likelihood": other["value"],
            "median": field.median(),
        }
    )
    return lines.join(_places(own["value"], field, lower)).reset_index()


def _places(values: pd.Series, field: pd.DataFrame, lower: np.ndarray) -> pd.DataFrame:
    """Place, number of those placed and quantile of one value a column of the field."""
    sign, known = np.where(lower, 1, -1), field.notna().sum()
    placed = values.notna() & (known > 0)
    ahead = (field * sign).lt(values * sign).sum().astype(float).where(placed)
    return pd.DataFrame(
        {"place": ahead + 1, "of": (known + placed).astype(float), "quantile": 1 - ahead / known}
    )
