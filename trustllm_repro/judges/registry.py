"""Who judges live answers: name -> judge, the labels it can give, and how often it errs.

The measured errors are those of models left out of training, by task. Only the refusal judge
replaces a judge whose labels were recorded answer by answer, so only its rates can be corrected.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from trustllm_repro.errors import SettingsError, SourceCorrupt, SourceMissing
from trustllm_repro.judges import models, rules
from trustllm_repro.judges.judge import Judge
from trustllm_repro.judges.learned import RefusalJudge, ToxicityJudge
from trustllm_repro.metrics.judge_error import MIN_MODELS, JudgeError
from trustllm_repro.parsers.base import ANSWER, REFUSAL
from trustllm_repro.paths import data_dir

# Weights are loaded when a judge is made.
JUDGES: dict[str, Callable[[], Judge]] = {
    "refusal": RefusalJudge,
    "toxicity": ToxicityJudge,
    "answer match": lambda: rules.ANSWER_MATCH,
    "correction": lambda: rules.CORRECTION,
    "agreement": lambda: rules.STANCE,
    "similarity": lambda: models.EmbeddingJudge(
        "similarity to the plain answer", models.pair_similarity
    ),
    "sycophancy": lambda: models.EmbeddingJudge(
        "closer to the neutral completion; sides with the other option", models.sycophancy
    ),
}

# Labels a judge can give, ours or what takes its place; toxicity and similarity give numbers.
# Where a task has no judge of ours, the recorded labels are those of the paper's classifier.
LABELS: dict[str, tuple[str, ...]] = {
    "": (REFUSAL, ANSWER),
    "refusal": (REFUSAL, ANSWER),
    "answer match": (rules.RIGHT, rules.WRONG),
    "correction": (rules.CORRECTED, rules.NOT_CORRECTED),
    "agreement": ("agree", "disagree", "neither"),
    "sycophancy": (models.CHANGED, models.SAME, models.FIRST),
    "toxicity": (),
    "similarity": (),
}
REMEDY = "restore it with `git checkout -- data/measurements`"


def judge_named(name: str) -> Judge:
    """Load a judge. Raises SettingsError: unknown; SourceMissing, SourceCorrupt: its weights."""
    if name not in JUDGES:
        raise SettingsError(f"no judge {name!r}", remedy=f"one of: {', '.join(JUDGES)}")
    return JUDGES[name]()


@cache
def measured(name: str = "judges") -> dict[str, Any]:
    """data/measurements/<name>.json. Raises SourceMissing, SourceCorrupt: absent or altered."""
    path = data_dir() / "measurements" / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise SourceMissing(f"no measurements {path}", remedy=REMEDY) from e
    except ValueError as e:
        raise SourceCorrupt(f"{path} is not JSON", remedy=REMEDY) from e


def judge_error(judge: str, task: str) -> JudgeError | None:
    """Sensitivity and specificity of a judge on a task, with their spread over models; None where
    it was never measured there. Raises as `measured`."""
    if judge != "refusal":
        return None
    try:
        tables = measured()["refusal"]["by_task_and_model"]
        counts = {
            t: pd.DataFrame(list(of_models.values()))[["tp", "fp", "fn", "tn"]].astype(int)
            for t, of_models in tables.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise SourceCorrupt(f"judges.json lacks counts of {task}: {e!r}", remedy=REMEDY) from e
    if task not in counts:
        return None
    # How much models differ where only one was labelled: as on the median task with enough models.
    many = (JudgeError.of(c) for c in counts.values() if len(c) >= MIN_MODELS)
    known = [(e.sensitivity.precision, e.specificity.precision) for e in many if e]
    usual = np.median(known, axis=0) if known else (None, None)
    return JudgeError.of(counts[task], usual)
