"""Thresholds keep what they promise on answers they were not set on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.online.monitors.base import InsufficientData
from trustllm_repro.online.studies.thresholds import (
    POINTS,
    balanced,
    false_alarms,
    first_alarm,
    misses,
    peak,
)

SCORES = [np.array([0.1, 0.9, 0.2]), np.array([]), np.array([np.nan, 0.3]), np.array([np.nan])]


def test_peaks_and_first_alarms() -> None:
    assert peak(SCORES)[[0, 2]].tolist() == [0.9, 0.3]
    assert np.isnan(peak(SCORES)[[1, 3]]).all()
    assert first_alarm(SCORES, 0.3).tolist() == [2, 0, 2, 0]
    assert first_alarm(SCORES, math.inf).tolist() == [0] * 4


@given(st.integers(20, 80), st.sampled_from([0.05, 0.1, 0.3]), st.integers(0, 10**6))
def test_no_more_calibration_answers_are_alarmed_than_allowed(
    n: int, risk: float, seed: int
) -> None:
    danger = np.round(np.random.default_rng(seed).random(n), 1)  # with ties
    safe = np.zeros(n, bool)
    if n < 1 / risk - 1:
        with pytest.raises(InsufficientData, match="are needed"):
            false_alarms(danger, safe, risk)
        return
    threshold = false_alarms(danger, safe, risk)
    assert ((danger >= threshold).sum() + 1) / (n + 1) <= risk + 1e-9
    lower = danger[danger < threshold].max(initial=-1)
    assert ((danger >= lower).sum() + 1) / (n + 1) > risk  # the next lower one would not do
    missed = misses(danger, ~safe, risk)
    assert ((danger < missed).sum() + 1) / (n + 1) <= risk + 1e-9


@pytest.mark.parametrize("n", [19, 30, 101])
def test_the_risk_is_controlled_on_new_answers(n: int) -> None:
    """Mean rate of false alarms over 4,000 calibration sets is at most the risk asked for."""
    draw = np.random.default_rng(0)
    rates = []
    for _ in range(4000):
        danger = draw.random(n)
        threshold = false_alarms(danger, np.zeros(n, bool), 0.05)
        rates.append(1 - min(threshold, 1))  # uniform: the share above it
    assert 0.02 < np.mean(rates) < 0.0515


@pytest.mark.parametrize(("risk", "needed"), [(0.05, 19), (0.01, 99)])
def test_too_few_are_said_to_be_too_few(risk: float, needed: int) -> None:
    safe = np.zeros(needed, bool)
    danger = np.arange(needed, dtype=float)
    assert false_alarms(danger, safe, risk) > needed - 1
    with pytest.raises(InsufficientData, match=f"{needed} are needed"):
        false_alarms(danger[1:], safe[1:], risk)
    with pytest.raises(InsufficientData, match=f"{needed} are needed"):
        misses(danger[1:], ~safe[1:], risk)


def test_the_balanced_threshold_parts_what_can_be_parted() -> None:
    danger = np.array([0.1, 0.2, 0.8, 0.9, np.nan])
    unsafe = np.array([False, False, True, True, True])
    assert balanced(danger, unsafe) == 0.8
    assert balanced(-danger, unsafe) == math.inf  # upside down: better never to alarm


@pytest.mark.parametrize("point", sorted(POINTS))
def test_one_kind_of_answers_sets_no_threshold(point: str) -> None:
    one = np.zeros(3, bool) if point == "10 % misses" else np.ones(3, bool)
    with pytest.raises(InsufficientData):
        POINTS[point](np.arange(3.0), one)


def test_no_number_is_no_danger_and_no_calibration() -> None:
    danger = np.concatenate([np.full(50, np.nan), np.arange(19.0)])
    assert false_alarms(danger, np.zeros(69, bool), 0.05) > 18
