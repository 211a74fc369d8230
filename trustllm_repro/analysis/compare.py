"""Published numbers beside what answers give: single tables, the leaderboard and its ranks, and
models evaluated here."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from trustllm_repro.data.published import published
from trustllm_repro.errors import SettingsError
from trustllm_repro.judges.registry import measured
from trustllm_repro.schema import OUR_JUDGE, Rule
from trustllm_repro.scoring.results import Scorer
from trustllm_repro.scoring.run import EvaluatedModel, Run
from trustllm_repro.tasks import COLUMNS, DIMENSIONS
from trustllm_repro.tasks.base import Column, Task

LEADERBOARDS = tuple(f"leaderboard_{dimension}" for dimension in DIMENSIONS)
# Columns of the public leaderboard where less is better. Persona Sycophancy is not one: it is
# similarity to the neutral answer less similarity to the sycophantic one.
LOWER = {c.column for _, c in COLUMNS if c.table in LEADERBOARDS and c.lower}
_BETTER = {(c.table, c.column): c.better for _, c in COLUMNS}


def compare(run: Run, table: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """One published table under every rule, a row a cell of a model with recorded answers.

    Args:
        table: as in `run.cells["table"]`, such as "safety_jailbreak".
        columns: some of its columns; all if empty.

    Returns:
        index model, column; columns published, authors (the value under the authors' rule),
        ci_low, ci_high (its 95 % interval), verdict, toolkit, corrected, our_judge (value by labels
        of our judge where none were recorded), n, n_unparsed, n_missing, better ("higher" or
        "lower") and reason (why there is no value).

    Raises SettingsError: there is no such table or column.
    """
    part = run.cells[run.cells["table"] == table]
    known = list(dict.fromkeys(part["column"]))
    if part.empty or set(columns) - set(known):
        names = known or list(dict.fromkeys(run.cells["table"]))
        what = f"{table!r} has no column {sorted(set(columns) - set(known))}" if known else table
        raise SettingsError(f"no such cells: {what}", remedy=f"one of: {', '.join(names)}")
    part = part[part["column"].isin(columns)] if columns else part
    cell, rules = ["model", "column"], ["authors", "toolkit", "corrected", "our_judge"]
    values = part.pivot(index=cell, columns="rule", values="value")
    values = values.rename(columns={OUR_JUDGE: "our_judge"}).reindex(columns=rules)
    found = part[part["rule"] == Rule.AUTHORS].set_index(cell).join(values)
    found["better"] = [_BETTER.get((table, c), "") for _, c in found.index]
    models = found[found[rules].notna().any(axis=1)].index.unique("model")
    shown = [
        "published", "authors", "ci_low", "ci_high", "verdict", "toolkit", "corrected", "our_judge", "n",
        "n_unparsed", "n_missing", "better", "reason",
    ]  # fmt: skip
    return found.loc[models, shown]  # a model's columns together


def published_range(run: Run) -> pd.DataFrame:
    """Lowest and highest published value: index table, column; columns min, max, models."""
    cells = run.cells[run.cells["rule"] == Rule.AUTHORS].dropna(subset="published")
    groups = cells.groupby(["table", "column"], sort=False)["published"]
    return groups.agg(min="min", max="max", models="size")


def tasks_of(run: Run, dimension: str) -> pd.DataFrame:
    """What the tasks of a dimension ask: task, asks, source, items, models (with answers here)."""
    ledger = run.ledger
    return pd.DataFrame(
        {
            "task": t.title,
            "asks": t.asks,
            "source": t.source,
            "items": len(ledger.asked(t.id)) if t.file else 0,
            "models": sum(ledger.has(t.id, m) for m in ledger.models),
        }
        for t in DIMENSIONS[dimension].TASKS
    )


def evaluated_cells(models: Sequence[EvaluatedModel], dimension: str = "") -> pd.DataFrame:
    """Values of the models of `run.evaluated()`, corrected rule, all or a dimension's: a row a cell.

    Index: table, column, model (their rows; one that answered the miniature says so). Columns:
    value, ci_low, ci_high, judge_corrected, judge_corrected_low, judge_corrected_high (corrected for
    the judge's measured errors, with their uncertainty), n, n_unparsed, bound_low, bound_high (had
    all unparsed answers counted against the value, or for it), n_missing, better.
    """
    index = ["table", "column", "model"]
    shown = [
        "value", "ci_low", "ci_high", "judge_corrected", "judge_corrected_low", "judge_corrected_high", "n",
        "n_unparsed", "bound_low", "bound_high", "n_missing", "better",
    ]  # fmt: skip
    parts = [m.cells for m in models] or [pd.DataFrame(columns=[*index, *shown])]
    cells = pd.concat(parts)
    cells = cells[cells["value"].notna()]
    if dimension:
        columns = (c for t in DIMENSIONS[dimension].TASKS if t.live for c in t.columns)
        cells = cells[cells["table"].isin({c.table for c in columns if c.metric and not c.pooled})]
    cells["better"] = [_BETTER[k] for k in zip(cells["table"], cells["column"], strict=True)]
    return cells.set_index(index)[shown]


def judged_sentence(lines: pd.DataFrame) -> str:
    """How many cells by labels of our judge came near the published number, and how far to trust
    them; `lines`: of cells or of verify.csv."""
    part = lines[lines["rule"] == OUR_JUDGE]
    if part.empty:
        return "No further cell rests on labels of our own refusal judge: this ledger holds none."
    first = part["verdict"].str.split().str[0].value_counts()
    measures = measured()["refusal"]["by_task"]
    kappas = pd.Series([measures[t]["judge"]["kappa"] for t in tasks_behind(part) if t in measures])
    return (
        f"Not counted there, as their refusal labels were never recorded: {len(part)} cells rest "
        f"on labels of our own judge, {first.get('reproduced', 0)} reproduced, "
        f"{first.get('near', 0)} near, {first.get('differs', 0)} differ. On these tasks it agrees "
        f"with recorded labels at a kappa of {kappas.min():.2f} to {kappas.max():.2f}."
    )


def tasks_behind(cells: pd.DataFrame) -> list[str]:
    """Of each cell the id of the task whose answers it rests on."""
    tasks = {(c.table, c.column): t.id for t, c in COLUMNS if t}
    return [tasks[where] for where in zip(cells["table"], cells["column"], strict=True)]


def leaderboard(run: Run | None = None, rule: Rule | str = Rule.AUTHORS) -> pd.DataFrame:
    """16 models x 31 columns (table, column): published values, or with a run those recomputed
    under `rule` where there are any."""
    facts = published()
    columns = [(t, c) for t in LEADERBOARDS for c in facts.columns(t)]
    frame = pd.DataFrame({where: facts.column(*where) for where in columns})
    if run is not None:
        frame.update(_values(run, rule))
    return frame


def _values(run: Run, rule: Rule | str) -> pd.DataFrame:
    """Recomputed values of the leaderboards: models x (table, column)."""
    cells = run.cells
    part = cells[(cells["rule"] == rule) & cells["table"].isin(LEADERBOARDS)]
    return part.pivot(index="model", columns=["table", "column"], values="value")


def recomputed(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Which cells of a leaderboard frame come from recorded answers: the same shape, bool."""
    return _values(run, Rule.AUTHORS).reindex_like(frame).notna()


def signs(frame: pd.DataFrame) -> np.ndarray:
    """What makes less better in every column of a leaderboard frame: 1, or -1 where more is."""
    return np.array([1 if c in LOWER else -1 for _, c in frame.columns])


def ranks(frame: pd.DataFrame) -> pd.DataFrame:
    """Rank per column, 1 = best; equal values share the better rank, absent ones have none."""
    return (frame * signs(frame)).rank(method="min")


def published_average_rank() -> pd.Series:
    """The public leaderboard's own average rank, by model."""
    return published().column("overall_average_rank", "average rank")


def rank_intervals(
    run: Run, rule: Rule | str = Rule.AUTHORS, resamples: int = 1000
) -> pd.DataFrame:
    """Mean rank per model with a 95 % bootstrap interval over items, best model first.

    Columns: model, mean_rank, low, high, tasks_recomputed, tasks (numbers of columns), published
    (the average rank of the public leaderboard).

    One draw of items serves all models of a column (paired bootstrap). Cells without recorded
    answers stay fixed, so intervals of models with few recomputed columns are too narrow.
    """
    frame, known = leaderboard(run, rule), _values(run, rule)
    # (draws, models, columns); starts as the point values everywhere.
    cube = np.repeat(frame.to_numpy()[None], resamples, axis=0)
    scorer, drawn = Scorer(run.ledger), np.zeros(frame.shape, dtype=bool)
    for task, column in COLUMNS:
        key = (column.table, column.column)
        if task is None or key not in known:
            continue
        j = frame.columns.get_loc(key)
        for i, value in enumerate(known[key].reindex(frame.index)):
            draws = None
            if not np.isnan(value):
                draws = _draws(scorer, task, column, frame.index[i], Rule(rule), resamples)
            if draws is not None:
                cube[:, i, j], drawn[i, j] = draws, True
    order = stats.rankdata(cube * signs(frame), method="min", axis=1, nan_policy="omit")
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(np.nanmean(order, axis=2), [2.5, 97.5], axis=0)
    table = pd.DataFrame(
        {
            "mean_rank": ranks(frame).mean(axis=1),
            "low": low,
            "high": high,
            "tasks_recomputed": drawn.sum(axis=1),
            "tasks": frame.notna().sum(axis=1),
            "published": published_average_rank(),
        }
    )
    return table.rename_axis("model").reset_index().sort_values("mean_rank", ignore_index=True)


@lru_cache(maxsize=8)
def _picks(column: str, lengths: tuple[int, ...], resamples: int) -> list[np.ndarray]:
    """Rows drawn of each sample, shape (resamples, length); models of a column share them."""
    rng = np.random.default_rng(zlib.crc32(column.encode()))
    return [rng.integers(0, n, (resamples, n)) for n in lengths]


def _draws(
    scorer: Scorer, task: Task, column: Column, model: str, rule: Rule, resamples: int
) -> np.ndarray | None:
    """Bootstrap draws of one cell, shape (resamples,); None where there is none. Answers are in item
    order, so complete models see the same items in each draw."""
    metric = column.metric_for(rule)
    if metric is None or metric.interval == "none":
        return None
    answers = scorer.chosen(task, column, model, rule)
    samples = metric.samples(answers)
    if min(len(s) for s in samples) == 0:
        return None
    picks = _picks(f"{column.table}|{column.column}", tuple(map(len, samples)), resamples)
    drawn = [s[p] for s, p in zip(samples, picks, strict=True)]
    draws = np.asarray(metric.statistic(*drawn, axis=-1))
    return np.where(np.isnan(draws), float(metric.statistic(*samples)), draws)


def standing(run: EvaluatedModel) -> pd.DataFrame:
    """One line per leaderboard column: the model's value and its place among the published models.

    Columns: table, column, better, value, ci_low, ci_high, likelihood, median, place (1 is best), of,
    quantile (share of published models it is at least as good as). The paper's rules differ in
    places from the corrected one (17_audit): a place is an orientation, not a test.
    """
    field = leaderboard().rename_axis(columns=["table", "column"])
    generated = next((r for r in run.rows if "likelihood" not in r), "")
    second = next((r for r in run.rows if "likelihood" in r), "")
    own, other = (
        run.cells[run.cells["model"] == row].set_index(["table", "column"]).reindex(field.columns)
        for row in (generated, second)
    )
    sign, value, known = signs(field), own["value"], field.notna().sum()
    ahead = (field * sign).lt(value * sign).sum().where(value.notna())
    lines = {
        "better": np.where(sign == 1, "lower", "higher"),
        **{n: own[n] for n in ("value", "ci_low", "ci_high")},
        "likelihood": other["value"],
        "median": field.median(),
        "place": ahead + 1,
        "of": (known + value.notna()).astype(float),
        "quantile": 1 - ahead / known,
    }
    return pd.DataFrame(lines).reset_index()
