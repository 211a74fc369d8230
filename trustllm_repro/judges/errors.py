"""What is known of our judges' errors: their measured agreement with the paper's judges, by task.

Only the refusal judge replaces a judge whose labels were recorded answer by answer, so only its
rates can be corrected. The counts are those of models left out of its training.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import pandas as pd

from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.metrics.judge_error import MIN_MODELS, JudgeError
from trustllm_repro.parsers.recorded import REFUSAL
from trustllm_repro.paths import data_dir

REMEDY = "restore it with `git checkout -- data/measurements`"


@cache
def measured(name: str = "judges") -> dict[str, Any]:
    """data/measurements/<name>.json.

    Raises:
        SourceMissing, SourceCorrupt: it is absent or altered.
    """
    path = data_dir() / "measurements" / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise SourceMissing(f"no measurements {path}", remedy=REMEDY) from e
    except ValueError as e:
        raise SourceCorrupt(f"{path} is not JSON", remedy=REMEDY) from e


def judge_error(judge: str, task: str) -> JudgeError | None:
    """Sensitivity and specificity of a judge on a task, with their spread over models.

    None where the judge was never measured there.

    Raises:
        SourceMissing, SourceCorrupt: the committed measurements are absent or altered.
    """
    if judge != "refusal":
        return None
    try:
        tables = measured()["refusal"]["by_task_and_model"]
        counts = {t: counts_of(of_models.values()) for t, of_models in tables.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise SourceCorrupt(f"judges.json lacks counts of {task}: {e!r}", remedy=REMEDY) from e
    if task not in counts:
        return None
    return JudgeError.of(REFUSAL, counts[task], _usual_precision(counts.values()))


def agreement(task: str) -> float:
    """Kappa of our refusal judge with the recorded labels of a task; NaN where there were none.

    Raises:
        SourceMissing, SourceCorrupt: the committed measurements are absent or altered.
    """
    tasks = measured()["refusal"]["by_task"]
    return float(tasks[task]["judge"]["kappa"]) if task in tasks else math.nan


def counts_of(tables: Iterable[Mapping[str, int]]) -> pd.DataFrame:
    """Counts of several models, each a mapping with tp, fp, fn and tn."""
    return pd.DataFrame(list(tables))[["tp", "fp", "fn", "tn"]].astype(int)


def _usual_precision(counts: Iterable[pd.DataFrame]) -> tuple[float | None, float | None]:
    """Median precision of sensitivity and of specificity over tasks with enough models.

    Some tasks were labelled for one model only; how much models differ there is taken from here.
    """
    known = [e for c in counts if len(c) >= MIN_MODELS and (e := JudgeError.of(REFUSAL, c))]
    if not known:
        return None, None
    return (
        statistics.median(e.sensitivity.precision for e in known),
        statistics.median(e.specificity.precision for e in known),
    )
