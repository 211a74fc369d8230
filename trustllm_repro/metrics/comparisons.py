"""Comparisons: of models, of groups of models, and of two readings of the same answers.

All tests come from scipy; exact where the sample is small. Multiplicity is handled by the caller
with scipy.stats.false_discovery_control (Benjamini-Hochberg).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from trustllm_repro.metrics.base import bootstrap

SEED = 20240115
DRAWS = 1999


@dataclass(frozen=True)
class Test:
    """Outcome of one test: statistic with 95 % interval, two-sided p-value, number of units."""

    name: str
    value: float
    p: float
    n: int
    low: float = math.nan
    high: float = math.nan

    __test__ = False  # not a test class for pytest

    def __str__(self) -> str:
        text = f"{self.name} = {self.value:.2f}"
        if not math.isnan(self.low):
            text += f" [{self.low:.2f}, {self.high:.2f}]"
        return text + f", p = {self.p:.2g}, n = {self.n}"


def _complete(*columns: np.ndarray) -> list[np.ndarray]:
    arrays = [np.asarray(c, dtype=float) for c in columns]
    keep = ~np.isnan(arrays).any(axis=0)
    return [a[keep] for a in arrays]


def _permuted(samples, statistic, kind: str) -> float:
    """p-value over permutations of a kind; exact where there are few."""
    found = stats.permutation_test(
        samples, statistic, permutation_type=kind, vectorized=True, rng=np.random.default_rng(SEED)
    )
    return float(found.pvalue)


def rank_correlation(x, y) -> Test:
    """Spearman's rho over units present in both; BCa interval over units, permutation p-value."""
    a, b = _complete(x, y)
    if len(a) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Test("Spearman's rho", math.nan, math.nan, len(a))

    def rho(u, v, axis=-1):
        ranked = (stats.rankdata(w, axis=axis) for w in (u, v))
        return stats.pearsonr(*ranked, axis=axis).statistic

    # Ranks of permuted values are the permuted ranks.
    ranks = tuple(stats.rankdata(v) - (len(v) + 1) / 2 for v in (a, b))
    p = _permuted(ranks, lambda u, v, axis: (u * v).sum(axis), "pairings")
    interval = bootstrap((a, b), rho, SEED, DRAWS, paired=True)
    return Test("Spearman's rho", float(rho(a, b)), p, len(a), *interval)


def group_difference(first, second) -> Test:
    """Difference of means of two groups of units; exact permutation test where feasible."""
    (a,), (b,) = _complete(first), _complete(second)
    n = len(a) + len(b)
    if min(len(a), len(b)) < 2:
        return Test("difference of means", math.nan, math.nan, n)

    def gap(u, v, axis=-1):
        return np.mean(u, axis=axis) - np.mean(v, axis=axis)

    p = _permuted((a, b), gap, "independent")
    return Test("difference of means", float(gap(a, b)), p, n, *bootstrap((a, b), gap, SEED, DRAWS))


def paired_difference(after, before) -> Test:
    """Median change over units present in both, with Wilcoxon's signed-rank test."""
    a, b = _complete(after, before)
    if len(a) < 2:
        return Test("median change", math.nan, math.nan, len(a))
    d = a - b
    # Few pairs: exact over all signs, as scipy's wilcoxon has it, which does not vectorise there.
    if len(d) <= 13:
        p = _permuted((d,), _signed_ranks, "samples")
    else:
        p = stats.wilcoxon(d, zero_method="zsplit").pvalue
    return Test("median change", float(np.median(d)), float(p), len(d))


def _signed_ranks(d, axis):
    """Wilcoxon's statistic: the sum of the signed ranks; those of zeros go half to each side."""
    return (np.sign(d) * stats.rankdata(np.abs(d), axis=axis)).sum(axis=axis)


def mcnemar(first: np.ndarray, second: np.ndarray) -> Test:
    """Change of a yes/no verdict between two answers to the same items; exact binomial test.

    `value` is the share of yes in `second` less that in `first`.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    gained, lost = int((~a & b).sum()), int((a & ~b).sum())
    p = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return Test("change of share (McNemar)", float(b.mean() - a.mean()), float(p), len(a))


def benjamini_hochberg(p_values) -> np.ndarray:
    """q-values; NaN stays NaN and does not count as a test."""
    p = np.asarray(p_values, dtype=float)
    q, known = np.full(p.shape, math.nan), ~np.isnan(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known], method="bh")
    return q
