"""Thresholds keep what they promise on answers they were not set on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from trustllm_repro.online.monitors.base import InsufficientData
from trustllm_repro.online.studies.thresholds import (
    threshold_at_fnr,
    threshold_at_fpr,
    threshold_at_macro_f1,
)


@given(st.integers(20, 80), st.sampled_from([0.05, 0.1, 0.3]), st.integers(0, 10**6))
def test_no_more_calibration_answers_are_alarmed_than_allowed(
    n: int, risk: float, seed: int
) -> None:
    peaks = np.round(np.random.default_rng(seed).random(n), 1)  # with ties
    safe = np.zeros(n, bool)
    if n < 1 / risk - 1:
        with pytest.raises(InsufficientData, match="are needed"):
            threshold_at_fpr(peaks, safe, risk)
        return
    threshold = threshold_at_fpr(peaks, safe, risk)
    assert ((peaks >= threshold).sum() + 1) / (n + 1) <= risk + 1e-9
    lower = peaks[peaks < threshold].max(initial=-1)
    assert ((peaks >= lower).sum() + 1) / (n + 1) > risk  # the next lower one would not do
    missed = threshold_at_fnr(peaks, ~safe, risk)
    assert ((peaks < missed).sum() + 1) / (n + 1) <= risk + 1e-9


@pytest.mark.parametrize("n", [19, 30, 101])
def test_the_risk_is_controlled_on_new_answers(n: int) -> None:
    """Mean rate of false positives over 4,000 calibration sets is at most the risk asked for."""
    draw = np.random.default_rng(0)
    rates = []
    for _ in range(4000):
        threshold = threshold_at_fpr(draw.random(n), np.zeros(n, bool), 0.05)
        rates.append(1 - min(threshold, 1))  # uniform: the share above it
    assert 0.02 < np.mean(rates) < 0.0515


@pytest.mark.parametrize(("risk", "needed"), [(0.05, 19), (0.01, 99)])
def test_too_few_are_said_to_be_too_few(risk: float, needed: int) -> None:
    safe = np.zeros(needed, bool)
    peaks = np.arange(needed, dtype=float)
    assert threshold_at_fpr(peaks, safe, risk) > needed - 1
    with pytest.raises(InsufficientData, match=f"{needed} are needed"):
        threshold_at_fpr(peaks[1:], safe[1:], risk)
    with pytest.raises(InsufficientData, match=f"{needed} are needed"):
        threshold_at_fnr(peaks[1:], ~safe[1:], risk)


def test_misses_are_as_promised_with_answers_that_have_no_score() -> None:
    """D9: those without a score are missed whatever the threshold, so it has to be lower."""
    draw, missed = np.random.default_rng(0), []
    for _ in range(2000):
        known, new = draw.random(300), draw.random(300)
        known[draw.random(300) < 0.03], new[draw.random(300) < 0.03] = np.nan, np.nan
        missed.append(1 - (new >= threshold_at_fnr(known, np.ones(300, bool), 0.10)).mean())
    assert 0.09 < np.mean(missed) <= 0.102
    known[:60] = np.nan
    with pytest.raises(InsufficientData, match="have no score, and are missed"):
        threshold_at_fnr(known, np.ones(300, bool), 0.10)


def test_a_safe_answer_without_a_score_is_never_stopped() -> None:
    peaks = np.concatenate([np.full(20, np.nan), np.arange(19.0)])
    assert threshold_at_fpr(peaks, np.zeros(39, bool), 0.05) == np.nextafter(17.0, math.inf)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=25))
def test_no_threshold_has_a_larger_macro_f1(rows) -> None:
    unsafe, peaks = np.array([u for u, _ in rows]), np.array([float(p) for _, p in rows])
    if len(set(unsafe.tolist())) == 1:
        with pytest.raises(InsufficientData, match="one kind only"):
            threshold_at_macro_f1(peaks, unsafe)
        return
    found, *others = (
        f1_score(unsafe, peaks >= t, average="macro", labels=[False, True], zero_division=0)
        for t in (threshold_at_macro_f1(peaks, unsafe), *peaks)
    )
    assert found == pytest.approx(max(others))
