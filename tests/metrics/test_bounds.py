"""Bounds for answers nobody could read: no way to label them leads outside, and both ends occur."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.test_measures import answers
from trustllm_repro.metrics.base import Metric, labelled, without_verdict
from trustllm_repro.metrics.measures import (
    REFUSED,
    Accuracy,
    AttackedPairs,
    Conditional,
    HarmonicWithOne,
    Mean,
    MeanOver,
    MeanRecall,
    Pearson,
    Rate,
)

RATES = (
    REFUSED,
    HarmonicWithOne(("refusal",)),
    Rate(("refusal",), unparsed="all"),
    MeanOver(REFUSED, (("side", ("a", "b")),)),
)
few = st.lists(st.sampled_from(["refusal", "answer", None]), min_size=2, max_size=5)


def all_ways(a: pd.DataFrame, labels: tuple[str, ...], metric: Metric) -> list[float]:
    """The metric's values under every labelling of the answers that have no verdict."""
    at = np.flatnonzero(without_verdict(a))
    values = []
    for chosen in itertools.product(labels, repeat=len(at)):
        mask = np.zeros(len(a), dtype=bool)
        mask[at] = True
        full = labelled(a, mask, np.array(chosen, dtype=str))
        values.append(float(metric.statistic(*metric.samples(full))))
    return values


@pytest.mark.parametrize("metric", RATES, ids=lambda m: type(m).__name__)
@given(few)
@settings(max_examples=25, deadline=None)
def test_bounds_of_rates_are_the_extremes_of_all_labellings(metric, labels) -> None:
    sides = ["a" if i % 2 else "b" for i in range(len(labels))]
    a = answers(labels, side=sides)
    low, high = metric.bounds(a)
    ways = all_ways(a, ("refusal", "answer"), metric)
    assert low == pytest.approx(min(ways))
    assert high == pytest.approx(max(ways))


_SIDES = st.sampled_from(["right", "wrong", None])


@pytest.mark.parametrize("gives", ["benign", "adversarial", "asr", "rs"])
@given(st.lists(st.tuples(_SIDES, _SIDES), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_bounds_of_attacked_pairs_hold_every_labelling(gives, pairs) -> None:
    labels = [x for pair in pairs for x in pair]
    a = answers(
        labels,
        pair=[i // 2 for i in range(len(labels))],
        version=["original", "modified"] * len(pairs),
    )
    metric = AttackedPairs(gives, unparsed="wrong")
    low, high = metric.bounds(a)
    ways = all_ways(a, ("right", "wrong"), metric)
    assert min(ways) >= low - 1e-9
    assert max(ways) <= high + 1e-9
    assert high in (pytest.approx(w) for w in ways)


@given(st.lists(st.sampled_from(["true", "other", "none", None]), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_bounds_of_a_conditional_share_hold_every_labelling(labels) -> None:
    metric = Conditional(("true", "unseen"), ("true", "other"), empty=0.0)
    a = answers(labels)
    low, high = metric.bounds(a)
    ways = all_ways(a, ("true", "other"), metric)
    assert (low, high) == (pytest.approx(min(ways)), pytest.approx(max(ways)))


def test_accuracy_counts_open_answers_as_all_right_or_all_wrong() -> None:
    a = answers(["A", None, "B", None], gold=["A", "A", "A", "B"])
    score = Accuracy().measure(a, seed=1)
    assert (score.value, score.bound_low, score.bound_high) == (0.25, 0.25, 0.75)
    mixed = answers(["yes", None, None], gold=["", "", "2"])
    assert Accuracy().bounds(mixed) == (pytest.approx(1 / 3), 1.0)


def test_a_class_average_is_bounded_by_all_right_and_all_wrong() -> None:
    classes = ("bad", "good")
    a = answers(["bad", None, "good", None], gold=["bad", "bad", "good", "good"])
    assert MeanRecall(classes).bounds(a) == (0.5, 1.0)
    assert MeanRecall(classes, of=("good",)).bounds(a) == (0.5, 1.0)


def test_without_open_answers_the_bounds_are_the_value() -> None:
    score = REFUSED.measure(answers(["refusal", "answer", "answer"]), seed=1)
    assert score.bound_low == score.bound_high == score.value


def test_a_rate_that_cannot_be_given_still_has_bounds() -> None:
    a = answers(["refusal", "", "", ""], status=["parsed", *["unlabelled"] * 3])
    score = Rate(("refusal",)).measure(a, seed=1)
    assert not score.known
    assert (score.bound_low, score.bound_high) == (0.25, 1.0)


_DEFECT = MeanRecall(("a", "b"), of=("a",), joined=(("a", ("b",)),))


@pytest.mark.parametrize("metric", [Mean(), Pearson(), _DEFECT], ids=str)
def test_metrics_that_no_labelling_bounds_have_none(metric) -> None:
    a = answers(["a", None, "b"], gold=["a", "b", "b"], number=[0.1, 0.2, 0.3])
    assert all(map(math.isnan, metric.bounds(a)))
