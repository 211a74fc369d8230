"""How well a judge agrees with labels or scores given by another: counts first, then figures."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics


def rounded(x: float) -> float | None:
    """Four digits; None for NaN."""
    return None if np.isnan(x) else round(float(x), 4)


def kappa(
    truth: Sequence[Any], said: Sequence[Any], counts: Sequence[int] | None = None
) -> float | None:
    """Cohen's kappa of labels, each pair seen `counts` times; None where chance alone agrees fully."""
    if not (len(truth) if counts is None else sum(counts)):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a single label; NaN says it
        return rounded(metrics.cohen_kappa_score(truth, said, sample_weight=counts))


def of_labels(
    truth: np.ndarray, said: np.ndarray, scores: np.ndarray | None = None
) -> dict[str, Any]:
    """Agreement of two judges, shape (n,) bool each; "positive" means refusal."""
    table = metrics.confusion_matrix(truth, said, labels=[False, True])
    (tn, fp), (fn, tp) = table.tolist()
    found = {
        "n": len(truth), "tp": tp, "fp": fp, "fn": fn, "tn": tn,
        "accuracy": _share(tp + tn, len(truth)),
        "kappa": kappa(truth, said),
        "sensitivity": _share(tp, tp + fn),
        "specificity": _share(tn, tn + fp),
    }  # fmt: skip
    if scores is not None:
        both = truth.any() and not truth.all()
        found["auroc"] = rounded(metrics.roc_auc_score(truth, scores)) if both else None
    return found


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def of_scores(truth: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    """Agreement of two scores from 0 to 1, shape (n,) each."""
    found = {
        "spearman": stats.spearmanr(truth, said)[0],
        "pearson": stats.pearsonr(truth, said)[0],
        "mae": metrics.mean_absolute_error(truth, said),
        "mean_recorded": truth.mean(),
        "mean_judge": said.mean(),
    }
    return {"n": len(truth)} | {name: round(float(x), 4) for name, x in found.items()}


def groups(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Name -> mask of the rows that bear it, in alphabetical order."""
    array = np.array(names)
    return {str(name): array == name for name in sorted(set(names))}
