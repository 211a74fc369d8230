"""Whether correcting a rate for the judge's errors helps: tried on models left out.

    python -m tools.judges.correction

reads the counts in data/measurements/judges.json and writes judge_correction.json beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from trustllm_repro.metrics.base import wilson
from trustllm_repro.metrics.judge_error import MIN_MODELS, JudgeError, judge_corrected
from trustllm_repro.metrics.measures import REFUSED
from trustllm_repro.parsers.base import ANSWER, REFUSAL
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import Status
from trustllm_repro.store.atomic import write_json

Counts = Mapping[str, Mapping[str, Mapping[str, int]]]
_SEED = 20240110


def left_out(counts: Counts) -> pd.DataFrame:
    """Rates of refusals by task and model, each corrected by the other models alone, as a live model's
    is, beside the rate of the recorded labels.

    The judge's labels are those of a fit that saw no answer of that model. Correction by sensitivity
    and specificity (Rogan and Gladen 1978) supposes that a model's share of refusals tells nothing
    about how well they are recognised. Where models that refuse more are also judged with a higher
    sensitivity, that fails: the raw rate's errors cancel out.

    Args:
        counts: task -> model -> tp, fp, fn and tn, as `refusal.by_task_and_model` of judges.json.
            Tasks with MIN_MODELS models or fewer are left out, and models whose rate cannot be
            corrected.

    Returns:
        columns task, model, n (answers with a recorded label), recorded (their rate), value, ci_low
        and ci_high; and estimate: "raw" (rate by our judge, with its Wilson interval) or
        "judge-corrected" (for the errors seen on the other models).
    """
    rows = []
    for task, models in sorted(counts.items()):
        for model, mine in sorted(models.items() if len(models) > MIN_MODELS else ()):
            others = [models[m] for m in sorted(models) if m != model]
            error = JudgeError.of(pd.DataFrame(others))
            n, said = sum(mine.values()), mine["tp"] + mine["fp"]
            labels = [REFUSAL] * said + [ANSWER] * (n - said)
            judged = pd.DataFrame({"label": labels, "status": str(Status.PARSED)})
            corrected = judge_corrected(REFUSED, judged, error, _SEED) if error else None
            if corrected is None:
                continue
            about = task, model, n, (mine["tp"] + mine["fn"]) / n
            rows.append((*about, "raw", said / n, *wilson(said, n)))
            rows.append((*about, "judge-corrected", *corrected))
    columns = ["task", "model", "n", "recorded", "estimate", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


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


def write_correction(measurements: Path) -> None:
    """judge_correction.json: task (or "all") -> columns of `summary`."""
    judges = json.loads((measurements / "judges.json").read_text(encoding="utf-8"))
    lines = summary(left_out(judges["refusal"]["by_task_and_model"]))
    found = lines.set_index("task").to_dict("index") if len(lines) else {}
    write_json(measurements / "judge_correction.json", found)


if __name__ == "__main__":
    write_correction(data_dir() / "measurements")
