"""Does mending a rate help? Every measured model is treated as if nobody had labelled it.

For each task and model, the errors of the refusal judge are taken from the other models alone, as
for a live model, and the mended rate is held against the one the recorded labels give. The judge's
labels are those of a fit that saw no answer of that model, so nothing here is known beforehand.

Mending by sensitivity and specificity (Rogan and Gladen 1978) supposes that a model's share of
refusals tells nothing about how well its refusals are told from its answers. Where models that
refuse more are also judged with a higher sensitivity and a lower specificity, that fails: the raw
rate's errors cancel out, the mended rate's do not. This says by how much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from trustllm_repro.judges.refusal import ANSWER, REFUSAL
from trustllm_repro.metrics.base import Answers
from trustllm_repro.metrics.judge_error import MIN_MODELS, Counts, JudgeError, debias
from trustllm_repro.metrics.rates import REFUSED
from trustllm_repro.schema import CONFIDENCE, Status

Table = Mapping[str, int]  # tp, fp, fn, tn
_SEED = 20240110


@dataclass(frozen=True)
class Trial:
    """One task and one model: the recorded rate of refusals, and three ways to estimate it.

    Attributes:
        n: answers with a recorded label.
        recorded: rate by the recorded labels.
        raw: rate by our judge, with its Wilson interval.
        mended: rate mended for the errors seen on the other models, with its interval.
        shifted: raw rate plus the mean difference (recorded less raw) of the other models, with a
            t interval for one more model; both clipped to 0 and 1.
    """

    task: str
    model: str
    n: int
    recorded: float
    raw: tuple[float, float, float]
    mended: tuple[float, float, float]
    shifted: tuple[float, float, float]


def trials(counts: Mapping[str, Mapping[str, Table]]) -> list[Trial]:
    """All tasks with more than MIN_MODELS models, each model once.

    Args:
        counts: task -> model -> counts, as `refusal.by_task_and_model` of judges.json.
    """
    return [
        trial
        for task, models in sorted(counts.items())
        if len(models) > MIN_MODELS
        for model in sorted(models)
        if (trial := _trial(task, model, models)) is not None
    ]


def _trial(task: str, model: str, models: Mapping[str, Table]) -> Trial | None:
    """None where the others tell too little to mend anything."""
    others = [models[m] for m in sorted(models) if m != model]
    error = JudgeError.of(
        REFUSAL, Counts(*([t[k] for t in others] for k in ("tp", "fp", "fn", "tn")))
    )
    mine = models[model]
    n, said = sum(mine.values()), mine["tp"] + mine["fp"]
    mended = debias(REFUSED, judged(said, n), error, _SEED) if error and n else None
    if mended is None:
        return None
    wilson = stats.binomtest(said, n).proportion_ci(CONFIDENCE, "wilson")
    raw = (said / n, wilson.low, wilson.high)
    recorded = (mine["tp"] + mine["fn"]) / n
    return Trial(task, model, n, recorded, raw, mended, _shifted(raw[0], others))


def judged(refusals: int, n: int) -> Answers:
    """`n` answers of which the first `refusals` were judged refusals."""
    label = np.array([REFUSAL] * refusals + [ANSWER] * (n - refusals))
    nothing = np.full(n, math.nan)
    return Answers(
        np.full(n, str(Status.PARSED)), label, nothing, np.full(n, ""), np.full(n, -1),
        np.arange(n), expected=n,
    )  # fmt: skip


def _shifted(raw: float, others: Sequence[Table]) -> tuple[float, float, float]:
    gaps = [(t["fn"] - t["fp"]) / sum(t.values()) for t in others if sum(t.values())]
    middle, k = raw + float(np.mean(gaps)), len(gaps)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, k - 1) * np.std(gaps, ddof=1) * math.sqrt(1 + 1 / k)
    low, mid, high = (min(max(x, 0.0), 1.0) for x in (middle - reach, middle, middle + reach))
    return mid, low, high


def summary(done: Sequence[Trial]) -> list[dict[str, Any]]:
    """A line per task and one for all: mean distance to the recorded rate, share of intervals that
    hold it, and their mean width, for each of the three estimates."""
    groups: dict[str, list[Trial]] = {}
    for t in done:
        groups.setdefault(t.task, []).append(t)
    if len(groups) > 1:
        groups["all"] = list(done)
    return [_line(name, part) for name, part in groups.items()]


def _line(name: str, part: Sequence[Trial]) -> dict[str, Any]:
    line: dict[str, Any] = {"task": name, "models": len(part)}
    for way in ("raw", "mended", "shifted"):
        found = [getattr(t, way) for t in part]
        truth = [t.recorded for t in part]
        pairs = list(zip(found, truth, strict=True))
        line[f"{way}, distance"] = float(np.mean([abs(f[0] - t) for f, t in pairs]))
        line[f"{way}, holds"] = float(np.mean([_holds(f, t) for f, t in pairs]))
        line[f"{way}, width"] = float(np.mean([f[2] - f[1] for f in found]))
    return line


def _holds(found: tuple[float, float, float], truth: float) -> bool:
    """Whether the interval holds the truth; ends are computed, so they may be off by rounding."""
    return found[1] - 1e-9 <= truth <= found[2] + 1e-9
