"""Any metric on a frame of answers, a shipped one or one from a cell; and tasks of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from trustllm_repro.errors import SettingsError
from trustllm_repro.metrics.base import Metric, absent_answers, has
from trustllm_repro.schema import CONFIDENCE, Response, Rule, Score, Status
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import Row, Task

SCORE = ["value", "ci_low", "ci_high", "n", "n_unparsed", "n_missing", "reason"]
# What a cell may use as a metric: the answers of one model -> a number.
OnFrame = Callable[[pd.DataFrame], float]


def find_task(task: Task | str) -> Task:
    """A task by its id or its name within the dimension ("jailbreak"), or the task itself."""
    if isinstance(task, Task):
        return task
    found = [t for t in TASKS.values() if task in (t.id, t.id.split("/")[-1])]
    if len(found) != 1:
        raise SettingsError(f"no task {task!r}", remedy=f"one of: {', '.join(TASKS)}")
    return found[0]


def score(
    answers: pd.DataFrame,
    metric: Metric | OnFrame,
    by: str | Sequence[str] = "model",
    *,
    resamples: int = 199,
    seed: int = 0,
) -> pd.DataFrame:
    """A metric of every group of answers: the columns `by`, then `SCORE`.

    Args:
        answers: rows of `Run.answers` or `read_answers`, whole or filtered (then nobody knows how
            many answers are missing).
        metric: one of trustllm_repro.metrics, or any function from the answers of one group (a
            frame) to a number.
        by: column or columns that make the groups.
        resamples: draws over answers for the 95 % interval (percentile) of a function, which is
            called for each. Shipped metrics take 999 (BCa).
    """
    names = [by] if isinstance(by, str) else list(by)
    asked = answers.attrs.get("asked", 0) if names == ["model"] else 0
    lines = []
    for key, part in answers.groupby(names, sort=False):
        part.attrs["asked"] = max(asked, len(part))
        if isinstance(metric, Metric):
            found = metric.measure(part, seed)
        else:
            found = _of_function(part, metric, resamples, seed)
        lines.append([*key, *(getattr(found, n) for n in SCORE)])
    return pd.DataFrame(lines, columns=[*names, *SCORE])


def _of_function(part: pd.DataFrame, metric: OnFrame, resamples: int, seed: int) -> Score:
    value = float(metric(part))
    low = high = math.nan
    if resamples and len(part) > 1 and not math.isnan(value):
        rng = np.random.default_rng(seed)
        picks = rng.integers(0, len(part), (resamples, len(part)))
        draws = [float(metric(part.take(p))) for p in picks]
        tail = 50 * (1 - CONFIDENCE)
        low, high = np.nanpercentile(draws, [tail, 100 - tail])
    n, absent = int(has(part, Status.PARSED).sum()), absent_answers(part)
    reason = "the metric gives no number here" if math.isnan(value) else ""
    return Score(value, n, *absent, float(low), float(high), reason)


def read_answers(
    task: Task,
    rows: Sequence[Row],
    texts: Mapping[str, Sequence[str | None]],
    rule: Rule | str = "corrected",
    judge: Callable[[Sequence[str | None]], Sequence[str | None]] | None = None,
) -> pd.DataFrame:
    """Answers to a task, declared in a cell or shipped, as a frame like that of `Run.answers`.

    Args:
        rows: the questions, each with the fields the task names ("prompt" and what its gold,
            facets and parser need).
        texts: model -> its answers, one for each row in their order; None for one that is missing.
        judge: from texts to labels, for parsers that take a judge's label.
    """
    items, parser = task.items(rows), task.parser_for(Rule(rule))
    parts = []
    for model, said in texts.items():
        if len(said) != len(items):
            raise SettingsError(
                f"{model}: {len(said)} answers to {len(items)} items",
                remedy="give one for each item, in their order; None where there is none",
            )
        labels = judge(said) if judge else [None] * len(said)
        for item, text, label in zip(items, said, labels, strict=True):
            verdict = parser(item, Response(task.id, model, item.number, text, judge=label))
            parts.append({
                "model": model, "item": item.number, "gold": item.gold,
                "status": str(verdict.status), "label": verdict.label or "",
                "number": verdict.number, "pair": item.pair,
                **dict(zip(task.facets, item.facets, strict=True)),
            })  # fmt: skip
    frame = pd.DataFrame(parts).astype({"number": float})
    frame.attrs["asked"] = len(items)
    return frame
