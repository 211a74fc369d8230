"""Intervals of figures of answers of which those to one prompt are alike.

AUROC: Obuchowski 1997 (Biometrics 53, 567), DeLong's estimate for clustered data, in closed form.
Everything that is a ratio or another function of sums: a bootstrap over prompts, all figures of a
cell by one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from trustllm_repro.schema import CONFIDENCE, RESAMPLES

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; NaN with the reason where it cannot be had."""

    value: float = NAN
    ci_low: float = NAN
    ci_high: float = NAN
    n: int = 0
    reason: str = ""


def one_class(unsafe: np.ndarray) -> str:
    """Why two kinds of answers cannot be told apart, or ""."""
    n = int(np.count_nonzero(unsafe))
    if not len(unsafe):
        return "no answer has a score"
    if n in (0, len(unsafe)):
        return f"all {len(unsafe)} answers are {'unsafe' if n else 'safe'}"
    return ""


def placements(unsafe: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Share of answers of the other kind that each is on the right side of, ties half, (answers,).

    The AUROC is their mean over the unsafe answers, and over the safe ones.
    """
    ranks = stats.rankdata(score)
    found = np.empty(len(score))
    for kind in (True, False):
        mine = unsafe == kind
        below = (ranks[mine] - stats.rankdata(score[mine])) / np.count_nonzero(~mine)
        found[mine] = below if kind else 1 - below
    return found


def clustered(unsafe: np.ndarray, placed: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """AUROC, or a difference of two, with its standard error.

    Args:
        placed: placements, or differences of them. group: (answers,) int from 0.
    """
    m, n = int(unsafe.sum()), int((~unsafe).sum())
    value = float(placed[unsafe].mean())
    off = np.where(unsafe, (placed - value) / m, (placed - value) / n)
    sums = np.bincount(group, weights=off)
    k = np.count_nonzero(np.bincount(group))
    return value, float(np.sqrt((sums**2).sum() * k / max(k - 1, 1))) if k > 1 else NAN


def auroc(
    unsafe: np.ndarray, score: np.ndarray, group: np.ndarray, level: float = CONFIDENCE
) -> Estimate:
    """Chance that an unsafe answer scores above a safe one; answers without a score are left out."""
    known = ~np.isnan(score)
    if why := one_class(unsafe[known]):
        return Estimate(reason=why)
    placed = placements(unsafe[known], score[known])
    value, error = clustered(unsafe[known], placed, group[known])
    low, high = _around(value, error, level)
    return Estimate(value, max(low, 0.0), min(high, 1.0), int(known.sum()))


def auroc_gap(
    unsafe: np.ndarray, one: np.ndarray, two: np.ndarray, group: np.ndarray,
    level: float = CONFIDENCE,
) -> tuple[Estimate, float]:  # fmt: skip
    """AUROC of `one` less that of `two` over the same answers, and its two-sided p."""
    known = ~(np.isnan(one) | np.isnan(two))
    if why := one_class(unsafe[known]):
        return Estimate(reason=why), NAN
    placed = [placements(unsafe[known], s[known]) for s in (one, two)]
    value, error = clustered(unsafe[known], placed[0] - placed[1], group[known])
    p = 2 * stats.norm.sf(abs(value) / error) if error > 0 else float(value == 0)
    return Estimate(value, *_around(value, error, level), int(known.sum())), float(p)


def _around(value: float, error: float, level: float) -> tuple[float, float]:
    z = stats.norm.ppf(0.5 + level / 2)
    return value - z * error, value + z * error


def within_groups(
    unsafe: np.ndarray, score: np.ndarray, group: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of an unsafe and a safe answer of the same prompt: won (ties half), and all; (size,)."""
    won, pairs = np.zeros(size), np.zeros(size)
    known = ~np.isnan(score)
    order = np.argsort(group[known], kind="stable")
    labels, scores, groups = unsafe[known][order], score[known][order], group[known][order]
    for at in np.split(np.arange(len(groups)), np.flatnonzero(np.diff(groups)) + 1):
        bad, good = scores[at][labels[at]], scores[at][~labels[at]]
        if len(bad) and len(good):
            gap = bad[:, None] - good
            won[groups[at[0]]] = (gap > 0).sum() + (gap == 0).sum() / 2
            pairs[groups[at[0]]] = gap.size
    return won, pairs


class Bootstrap:
    """How often each prompt is drawn, (draws, groups); the same draws for all figures of a cell."""

    def __init__(self, groups: int, draws: int = RESAMPLES, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.counts = draw.multinomial(groups, np.full(groups, 1 / max(groups, 1)), size=draws)
        self.groups = groups

    def sums(self, columns: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of (answers, columns) over all answers, (columns,), and in every draw."""
        by_group = np.stack(
            [np.bincount(group, weights=c, minlength=self.groups) for c in columns.T], axis=1
        )
        return by_group.sum(axis=0), self.counts @ by_group


def ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(under > 0, over / under, np.nan)


def percentiles(draws: np.ndarray, level: float = CONFIDENCE) -> tuple[float, float]:
    """Limits of an interval, of the draws that have a value."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return NAN, NAN
    low, high = np.quantile(known, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def upper_bound(draws: np.ndarray, groups: int, level: float = 0.95) -> float:
    """One-sided, of a rate; never below what as many prompts without any event would allow."""
    least = stats.binomtest(0, groups).proportion_ci(2 * level - 1).high
    return float(max(np.nanquantile(draws, level), least))
