"""What is known of our judges' errors: their measured agreement with the paper's judges, by task.

Only the refusal judge stands in for a judge whose labels were recorded answer by answer, so only
its rates can be mended. The counts are those of models left out of its training.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from functools import cache
from typing import Any

from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.judges.refusal import REFUSAL
from trustllm_repro.metrics.judge_error import MIN_MODELS, Counts, JudgeError
from trustllm_repro.paths import data_dir

REMEDY = "restore it with `git checkout -- data/measurements/judges.json`"


@cache
def _measured() -> dict[str, Any]:
    path = data_dir() / "measurements" / "judges.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise SourceMissing(f"no measurements of the judges: {path}", remedy=REMEDY) from e
    except ValueError as e:
        raise SourceCorrupt(f"{path} is not JSON: {e}", remedy=REMEDY) from e


def judge_error(judge: str, task: str) -> JudgeError | None:
    """Sensitivity and specificity of a judge on a task, with their spread over models.

    None where the judge was never measured there.

    Raises:
        SourceMissing, SourceCorrupt: the committed measurements are absent or altered.
    """
    if judge != "refusal":
        return None
    try:
        tasks = {
            t: _counts(models) for t, models in _measured()["refusal"]["by_task_and_model"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise SourceCorrupt(f"judges.json lacks counts of {task}: {e!r}", remedy=REMEDY) from e
    if task not in tasks:
        return None
    return JudgeError.of(REFUSAL, tasks[task], _usual_precision(tasks.values()))


def agreement(task: str) -> float:
    """Kappa of our refusal judge with the recorded labels of a task; NaN where there were none.

    Raises:
        SourceMissing, SourceCorrupt: the committed measurements are absent or altered.
    """
    try:
        tasks = _measured()["refusal"]["by_task"]
        return float(tasks[task]["judge"]["kappa"]) if task in tasks else math.nan
    except (KeyError, TypeError, ValueError) as e:
        raise SourceCorrupt(f"judges.json lacks the kappa of {task}: {e!r}", remedy=REMEDY) from e


def _counts(models: dict[str, Any]) -> Counts:
    rows = [models[m] for m in sorted(models)]
    return Counts(*([int(r[k]) for r in rows] for k in ("tp", "fp", "fn", "tn")))


def _usual_precision(tasks: Iterable[Counts]) -> tuple[float | None, float | None]:
    """Median precision of sensitivity and of specificity over tasks with enough models.

    Some tasks were labelled for one model only; how much models differ there is taken from here.
    """
    known = [e for c in tasks if len(c.tp) >= MIN_MODELS and (e := JudgeError.of(REFUSAL, c))]
    if not known:
        return None, None
    return (
        statistics.median(e.sensitivity.precision for e in known),
        statistics.median(e.specificity.precision for e in known),
    )
