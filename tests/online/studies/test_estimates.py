"""Intervals clustered by prompt: against scikit-learn, by hand, and by how often they cover.

Thresholds keep what they promise on answers they were not set on.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from trustllm_repro.online.monitors.base import InsufficientData
from trustllm_repro.online.studies import estimates
from trustllm_repro.online.studies.estimates import (
    Bootstrap,
    auroc,
    auroc_within,
    ratio,
    threshold_at_fpr,
    threshold_at_macro_f1,
)


def drawn(seed: int, prompts: int, a_prompt: int, alike: float, shift: float):
    """Scores of which those to one prompt correlate; labels follow the prompts in one half."""
    draw = np.random.default_rng(seed)
    group = np.repeat(np.arange(prompts), a_prompt)
    unsafe = (group + np.tile(np.arange(a_prompt), prompts) * (group % 2)) % 2 == 0
    noise = np.sqrt(alike) * draw.normal(size=prompts)[group]
    noise += np.sqrt(1 - alike) * draw.normal(size=len(group))
    return unsafe, noise + shift * unsafe, group


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=30))
def test_auroc_is_that_of_scikit_learn(rows) -> None:
    unsafe, score = np.array([u for u, _ in rows]), np.array([float(s) for _, s in rows])
    found = auroc(unsafe, score, np.arange(len(rows)))
    if len(set(unsafe.tolist())) == 1:
        assert np.isnan(found.value)
        assert found.reason.startswith(f"all {len(rows)} answers are")
    else:
        assert found.value == pytest.approx(roc_auc_score(unsafe, score))


def test_with_one_answer_a_prompt_it_is_delong() -> None:
    unsafe, score, _ = drawn(0, 200, 1, 0, 1)
    placed = estimates.placements(unsafe, score)
    plain = (
        placed[unsafe].var(ddof=1) / unsafe.sum() + placed[~unsafe].var(ddof=1) / (~unsafe).sum()
    )
    value, parts = estimates.clustered(unsafe, placed, np.arange(200))
    assert value == pytest.approx(roc_auc_score(unsafe, score))
    assert (parts**2).sum() == pytest.approx(plain, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.0, 0.6])
def test_intervals_cover(alike: float) -> None:
    """D14: with answers alike within a prompt an interval that ignores prompts covers 91 %."""
    big = drawn(1, 60_000, 4, alike, 1)
    truth, hits, gaps, rates = auroc(*big).value, 0, 0, 0
    rate = float((big[1] > 1).mean())
    for seed in range(400):
        unsafe, score, group = drawn(seed + 2, 80, 4, alike, 1)
        found = auroc(unsafe, score, group)
        hits += found.ci_low <= truth <= found.ci_high
        other = np.random.default_rng(seed).permutation(80)[group] / 80 + unsafe
        gap = auroc(unsafe, score, group, other=score + 0 * other)
        gaps += gap.value == 0
        boot = Bootstrap(80, 400, seed)
        _, draws = boot.sums(np.stack([score > 1, np.ones(320)], 1).astype(float), group)
        low, high = estimates.percentiles(ratio(*draws.T))
        rates += low <= rate <= high
    assert 0.925 <= hits / 400 <= 0.975
    assert 0.915 <= rates / 400 <= 0.975
    assert gaps == 400


def test_a_difference_of_paired_scores_is_sharper_than_two_intervals() -> None:
    unsafe, score, group = drawn(0, 300, 2, 0.5, 1)
    noise = np.random.default_rng(1).normal(size=len(score))
    near, far = score + noise / 4, score + noise * 4
    one, two = auroc(unsafe, score, group), auroc(unsafe, far, group)
    gap = auroc(unsafe, score, group, other=far)
    assert gap.value == pytest.approx(one.value - two.value)
    assert gap.ci_low > 0
    assert gap.p < 0.01
    small = auroc(unsafe, score, group, other=near)
    assert small.ci_high - small.ci_low < (one.ci_high - one.ci_low) / 2


def test_answers_without_a_score_are_left_out_of_areas() -> None:
    unsafe, score, group = drawn(0, 50, 2, 0, 1)
    score[:10] = np.nan
    assert auroc(unsafe, score, group).n == 90
    assert auroc(unsafe, score, group, other=np.zeros(100)).n == 90


def test_pairs_within_prompts() -> None:
    unsafe = np.array([True, False, False, True, True])
    group = np.array([0, 0, 0, 1, 1])
    found = auroc_within(unsafe, np.array([2.0, 1.0, 2.0, 5.0, np.nan]), group, 2)
    assert (found.value, found.n) == (1.5 / 2, 4)
    none = auroc_within(unsafe, np.full(5, np.nan), group, 2)
    assert none.reason == "no prompt has answers of both kinds"


def test_sums_of_draws_have_the_mean_of_the_sums() -> None:
    values = np.random.default_rng(0).random((60, 2))
    total, draws = Bootstrap(20, 4000).sums(values, np.repeat(np.arange(20), 3))
    assert total == pytest.approx(values.sum(axis=0))
    assert draws.mean(axis=0) == pytest.approx(total, rel=0.02)


def test_an_upper_bound_is_never_below_that_of_no_event_at_all() -> None:
    assert estimates.upper_bound(np.zeros(100), 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert estimates.upper_bound(np.full(100, 0.7), 20) == pytest.approx(0.7)


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
