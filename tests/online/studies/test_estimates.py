"""Intervals clustered by prompt: against scikit-learn, by hand, and by how often they cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from trustllm_repro.online.studies import estimates
from trustllm_repro.online.studies.estimates import Bootstrap, auroc, auroc_gap, ratio


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
    _, error = estimates.clustered(unsafe, placed, np.arange(200))
    assert error**2 == pytest.approx(plain, rel=0.01)


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
        gap, _ = auroc_gap(unsafe, score, score + 0 * other, group)
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
    gap, p = auroc_gap(unsafe, score, far, group)
    assert gap.value == pytest.approx(one.value - two.value)
    assert gap.ci_low > 0
    assert p < 0.01
    small, _ = auroc_gap(unsafe, score, near, group)
    assert small.ci_high - small.ci_low < (one.ci_high - one.ci_low) / 2


def test_answers_without_a_score_are_left_out_of_areas() -> None:
    unsafe, score, group = drawn(0, 50, 2, 0, 1)
    score[:10] = np.nan
    assert auroc(unsafe, score, group).n == 90
    assert auroc_gap(unsafe, score, np.zeros(100), group)[0].n == 90


def test_pairs_within_prompts() -> None:
    unsafe = np.array([True, False, False, True, True])
    won, pairs = estimates.within_groups(
        unsafe, np.array([2.0, 1.0, 2.0, 5.0, np.nan]), np.array([0, 0, 0, 1, 1]), 2
    )
    assert won.tolist() == [1.5, 0]
    assert pairs.tolist() == [2, 0]


def test_sums_of_draws_have_the_mean_of_the_sums() -> None:
    values = np.random.default_rng(0).random((60, 2))
    total, draws = Bootstrap(20, 4000).sums(values, np.repeat(np.arange(20), 3))
    assert total == pytest.approx(values.sum(axis=0))
    assert draws.mean(axis=0) == pytest.approx(total, rel=0.02)


def test_an_upper_bound_is_never_below_that_of_no_event_at_all() -> None:
    assert estimates.upper_bound(np.zeros(100), 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert estimates.upper_bound(np.full(100, 0.7), 20) == pytest.approx(0.7)
