"""Does correcting a rate for the judge's errors help? Each measured model is treated as unlabelled.

For each task and model, the errors of the refusal judge are taken from the other models alone, as
for a live model, and the corrected rate is held against the one the recorded labels give. The
judge's labels are those of a fit that saw no answer of that model.

Correction by sensitivity and specificity (Rogan and Gladen 1978) supposes that a model's share of
refusals tells nothing about how well its refusals are told from its answers. Where models that
refuse more are also judged with a higher sensitivity and a lower specificity, that fails: the raw
rate's errors cancel out, the corrected rate's do not. This says by how much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from trustllm_repro.judges.registry import counts_of
from trustllm_repro.metrics.base import Answers
from trustllm_repro.metrics.judge_error import MIN_MODELS, JudgeError, judge_corrected
from trustllm_repro.metrics.rates import REFUSED
from trustllm_repro.parsers.base import ANSWER, REFUSAL
from trustllm_repro.schema import CONFIDENCE, Status

Table = Mapping[str, int]  # tp, fp, fn, tn
Estimate = tuple[float, float, float]  # value and interval
_SEED = 20240110
_COLUMNS = ("task", "model", "n", "recorded", "estimate", "value", "ci_low", "ci_high")


def left_out(counts: Mapping[str, Mapping[str, Table]]) -> pd.DataFrame:
    """Rates of refusals by task and model, each estimated from the other models.

    Args:
        counts: task -> model -> counts, as `refusal.by_task_and_model` of judges.json. Tasks with
            MIN_MODELS models or fewer are left out, and models whose rate cannot be corrected.

    Returns:
        columns task, model, n (answers with a recorded label), recorded (their rate), value, ci_low
        and ci_high; and estimate: "raw" (rate by our judge, with its Wilson interval),
        "judge-corrected" (for the errors seen on the other models) and "shifted" (raw plus the mean
        difference, recorded less raw, of the other models, with a t interval for one more model).
    """
    rows = []
    for task, models in sorted(counts.items()):
        for model, mine in sorted(models.items() if len(models) > MIN_MODELS else ()):
            others = [models[m] for m in sorted(models) if m != model]
            error = JudgeError.of(REFUSAL, counts_of(others))
            n, said = sum(mine.values()), mine["tp"] + mine["fp"]
            corrected = (
                judge_corrected(REFUSED, judged(said, n), error, _SEED) if error and n else None
            )
            if corrected is None:
                continue
            wilson = stats.binomtest(said, n).proportion_ci(CONFIDENCE, "wilson")
            raw = (said / n, wilson.low, wilson.high)
            found = {"raw": raw, "judge-corrected": corrected, "shifted": _shifted(raw[0], others)}
            recorded = (mine["tp"] + mine["fn"]) / n
            rows += [(task, model, n, recorded, name, *one) for name, one in found.items()]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def judged(refusals: int, n: int) -> Answers:
    """`n` answers of which the first `refusals` were judged refusals."""
    label = np.array([REFUSAL] * refusals + [ANSWER] * (n - refusals))
    nothing = np.full(n, math.nan)
    return Answers(
        np.full(n, str(Status.PARSED)), label, nothing, np.full(n, ""), np.full(n, -1),
        np.arange(n), expected=n,
    )  # fmt: skip


def _shifted(raw: float, others: Sequence[Table]) -> Estimate:
    """Clipped to 0 and 1."""
    gaps = [(t["fn"] - t["fp"]) / sum(t.values()) for t in others if sum(t.values())]
    middle, k = raw + float(np.mean(gaps)), len(gaps)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, k - 1) * np.std(gaps, ddof=1) * math.sqrt(1 + 1 / k)
    low, mid, high = np.clip([middle - reach, middle, middle + reach], 0.0, 1.0).tolist()
    return mid, low, high


def summary(rates: pd.DataFrame) -> pd.DataFrame:
    """A line per task and one for all, from `left_out`.

    Columns: task, models, and for each estimate "<estimate>, distance" (mean distance to the
    recorded rate), "holds" (share of intervals that hold it) and "width" (mean, of intervals).
    """
    if rates.empty:
        return pd.DataFrame()
    if rates["task"].nunique() > 1:
        rates = pd.concat([rates, rates.assign(task="all")])
    # Ends of intervals are computed, so they may be off by rounding.
    holds = rates["recorded"].between(rates["ci_low"] - 1e-9, rates["ci_high"] + 1e-9)
    figures = rates.assign(
        distance=(rates["value"] - rates["recorded"]).abs(),
        holds=holds,
        width=rates["ci_high"] - rates["ci_low"],
    )
    means = figures.groupby(["task", "estimate"], sort=False)[["distance", "holds", "width"]].mean()
    table = means.stack().unstack(["estimate", None])
    table.columns = [", ".join(column) for column in table.columns]
    models = rates[rates["estimate"] == "raw"].groupby("task", sort=False).size()
    table.insert(0, "models", models)
    return table.loc[models.index].reset_index()
