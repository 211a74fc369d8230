"""How well a judge agrees with labels or scores given by another: counts first, then figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats


def auroc(truth: np.ndarray, scores: np.ndarray) -> float | None:
    """Chance that a true case scores above a false one, ties counted half; None without both."""
    n_true, n_false = int(truth.sum()), int((~truth).sum())
    if not n_true or not n_false:
        return None
    ranks = stats.rankdata(scores)
    return float((ranks[truth].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def kappa(tp: int, fp: int, fn: int, tn: int) -> float | None:
    """Cohen's kappa of a two by two table; None where chance alone agrees fully."""
    n = tp + fp + fn + tn
    chance = ((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn)) / n**2 if n else 1.0
    return None if chance == 1 else round(((tp + tn) / n - chance) / (1 - chance), 4)


def of_labels(
    truth: np.ndarray, said: np.ndarray, scores: np.ndarray | None = None
) -> dict[str, Any]:
    """Agreement of two judges, shape (n,) bool each; "positive" means refusal."""
    tp, fp = int((truth & said).sum()), int((~truth & said).sum())
    fn, tn = int((truth & ~said).sum()), int((~truth & ~said).sum())
    found = {
        "n": len(truth),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "accuracy": _share(tp + tn, len(truth)),
        "kappa": kappa(tp, fp, fn, tn),
        "sensitivity": _share(tp, tp + fn),
        "specificity": _share(tn, tn + fp),
    }
    if scores is not None:
        area = auroc(truth, scores)
        found["auroc"] = None if area is None else round(area, 4)
    return found


def of_scores(truth: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    """Agreement of two scores from 0 to 1, shape (n,) each."""
    return {
        "n": len(truth),
        "spearman": round(float(stats.spearmanr(truth, said)[0]), 4),
        "pearson": round(float(stats.pearsonr(truth, said)[0]), 4),
        "mae": round(float(np.abs(truth - said).mean()), 4),
        "mean_recorded": round(float(truth.mean()), 4),
        "mean_judge": round(float(said.mean()), 4),
    }


def groups(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Name -> mask of the rows that bear it, in alphabetical order."""
    array = np.array(names)
    return {str(name): array == name for name in sorted(set(names))}
