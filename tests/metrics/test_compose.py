"""Intervals of means of shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.metrics.base import wilson
from trustllm_repro.metrics.measures import MeanOver, OneMinus, Rate, mover

REFUSED = Rate(("refusal",))
OVER = MeanOver(REFUSED, (("part", ("x", "y")),))


@given(st.integers(0, 30), st.integers(1, 30))
def test_of_one_share_it_is_wilsons(k: int, n: int) -> None:
    k = min(k, n)
    assert mover([wilson(k, n)], [k / n]) == pytest.approx(wilson(k, n))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=5))
def test_it_holds_the_mean_and_leaves_no_share_out_of_0_to_1(counts) -> None:
    counts = [(min(k, n), n) for k, n in counts]
    shares = [k / n for k, n in counts]
    low, high = mover([wilson(k, n) for k, n in counts], shares)
    assert -1e-12 <= low <= np.mean(shares) <= high <= 1 + 1e-12
    assert high - low > 0


def test_no_hit_at_all_is_no_point() -> None:
    low, high = OVER.confidence((np.zeros(10), np.zeros(10)), 0)
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(wilson(0, 10)[1] / np.sqrt(2))
    other_way = OneMinus(OVER).confidence((np.zeros(10), np.zeros(10)), 0)
    assert other_way == pytest.approx((1 - high, 1))


def test_it_covers_as_it_says() -> None:
    """Of 2,000 draws with shares 0.1 and 0.6, 20 and 40 answers each, at least 93 % hold the mean."""
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        parts = (draw.random(20) < 0.1, draw.random(40) < 0.6)
        low, high = OVER.confidence(tuple(p.astype(float) for p in parts), 0)
        held += low <= 0.35 <= high
    assert 0.93 < held / 2000 < 0.98
