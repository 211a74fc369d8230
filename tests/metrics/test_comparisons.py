"""Tests between models, groups and readings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from trustllm_repro.metrics.comparisons import (
    benjamini_hochberg,
    group_difference,
    mcnemar,
    paired_difference,
    rank_correlation,
)


def test_rank_correlation_is_spearmans_and_skips_absent_values() -> None:
    x = [1, 2, 3, 4, 5, math.nan, 7]
    y = [1, 3, 2, 5, 4, 9, 8]
    got = rank_correlation(x, y)
    want = stats.spearmanr([1, 2, 3, 4, 5, 7], [1, 3, 2, 5, 4, 8])
    assert got.value == pytest.approx(want.statistic)
    assert got.n == 6
    assert got.low <= got.value <= got.high


def test_constant_values_have_no_correlation() -> None:
    assert math.isnan(rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]).value)


def test_group_difference_is_exact_for_small_groups() -> None:
    got = group_difference([10, 11, 12], [1, 2, 3])
    assert got.value == 9
    assert got.p == pytest.approx(2 / 20)  # 20 ways to split six units, two as extreme
    assert math.isnan(group_difference([1], [2, 3]).p)


def test_mcnemar_is_the_exact_binomial_test_of_changes() -> None:
    before = np.array([True] * 10 + [False] * 10)
    after = np.array([True] * 10 + [True] * 8 + [False] * 2)
    got = mcnemar(before, after)
    assert got.value == pytest.approx(0.4)
    assert got.p == pytest.approx(stats.binomtest(8, 8).pvalue)
    assert mcnemar(before, before).p == 1


def test_paired_difference() -> None:
    got = paired_difference([2, 3, 4, 5, 6, math.nan], [1, 2, 3, 4, 5, 6])
    assert (got.value, got.n) == (1, 5)


def test_benjamini_hochberg_leaves_absent_tests_out() -> None:
    q = benjamini_hochberg([0.01, math.nan, 0.04])
    assert q[0] == pytest.approx(0.02)
    assert math.isnan(q[1])
    assert q[2] == pytest.approx(0.04)


def test_a_test_prints_its_interval() -> None:
    text = str(rank_correlation(range(10), [2, 1, 4, 3, 5, 6, 9, 7, 8, 10]))
    assert "[" in text
    assert "n = 10" in text
