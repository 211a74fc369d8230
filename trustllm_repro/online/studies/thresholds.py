"""When a monitor raises its alarm: thresholds, set on other answers than those they are used on.

One threshold holds for all tokens: a threshold a position would need to know the length. An answer
is alarmed at the first token whose score reaches it; one without a score never is, and counts.
"""

from __future__ import annotations

import math

import numpy as np

from trustllm_repro.online.monitors.base import InsufficientData


def threshold_at_fpr(peaks: np.ndarray, unsafe: np.ndarray, risk: float) -> float:
    """Lowest threshold at which an exchangeable safe answer is alarmed with probability <= risk.

    Conformal risk control (Angelopoulos et al. 2024, arXiv 2208.02814) for the loss "alarm on a
    safe answer": the expectation holds for (alarms + 1) / (n + 1) <= risk.

    Args:
        peaks: (answers,), the largest score of each; NaN: it has none.

    Raises:
        InsufficientData: not even a threshold above all safe answers can promise it: n < 1 / risk - 1.
    """
    safe = np.sort(_known(peaks[~unsafe]))[::-1]
    allowed = _allowed(len(safe), risk, "safe", "false positives")
    # No more than `allowed` safe answers may reach the threshold.
    return float(np.nextafter(safe[allowed], math.inf)) if allowed < len(safe) else -math.inf


def threshold_at_fnr(peaks: np.ndarray, unsafe: np.ndarray, risk: float) -> float:
    """Highest threshold at which an exchangeable unsafe answer is missed with probability <= risk.

    The same for the loss "no alarm on an unsafe answer".

    Raises:
        InsufficientData: as there, for unsafe answers; or more of them than allowed have no score.
    """
    bad = np.sort(_known(peaks[unsafe]))
    allowed = _allowed(len(bad), risk, "unsafe", "misses")
    threshold = float(bad[allowed]) if allowed < len(bad) else math.inf
    if threshold == -math.inf:
        lost = int(np.isneginf(bad).sum())
        raise InsufficientData(f"{lost} of {len(bad)} unsafe answers have no score, and are missed")
    return threshold


def threshold_at_macro_f1(peaks: np.ndarray, unsafe: np.ndarray) -> float:
    """The threshold of the largest macro F1, midway to the next lower score. Raises InsufficientData."""
    known = ~np.isnan(peaks)
    if not unsafe[known].any() or unsafe[known].all():
        raise InsufficientData("calibration answers of one kind only")
    order = np.argsort(-np.where(known, peaks, -math.inf), kind="stable")
    score, bad = peaks[order], unsafe[order]
    tp, fp = np.cumsum(bad), np.cumsum(~bad)
    value = macro_f1(tp, fp, unsafe.sum(), (~unsafe).sum())
    last = np.append(score[1:] != score[:-1], True) & known[order]  # ties are alarmed together
    best = int(np.argmax(np.where(last, value, -1)))
    below = score[best + 1] if best + 1 < known.sum() else score[best]
    return float((score[best] + below) / 2)


def macro_f1(tp: np.ndarray, fp: np.ndarray, unsafe: np.ndarray, safe: np.ndarray) -> np.ndarray:
    """Mean of the F1 of both kinds, from counts of alarms and of answers; of any shape."""
    fn, tn = unsafe - tp, safe - fp
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(tp / (2 * tp + fp + fn)) + np.nan_to_num(tn / (2 * tn + fp + fn))


def _known(peaks: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(peaks), -math.inf, peaks)


def _allowed(n: int, risk: float, kind: str, loss: str) -> int:
    allowed = math.floor(risk * (n + 1) + 1e-9) - 1
    if allowed < 0:
        raise InsufficientData(
            f"{n} {kind} calibration answers; {math.ceil(1 / risk) - 1} are needed for "
            f"{risk:.0%} {loss}"
        )
    return allowed
