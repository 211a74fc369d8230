"""Metrics against scikit-learn and scipy, counts, intervals, and reasons for absent values."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

from trustllm_repro.metrics.base import NoValue, bootstrap, wilson
from trustllm_repro.metrics.measures import (
    REFUSED,
    Accuracy,
    AttackedPairs,
    Conditional,
    HarmonicWithOne,
    Independence,
    MacroF1,
    Maximum,
    Mean,
    MeanOver,
    MeanRecall,
    Pearson,
    Rate,
    mover,
)
from trustllm_repro.schema import Status

CLASSES = ("bad", "neutral", "good")
pairs = st.lists(
    st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=60
)


def answers(
    labels: list[str | None],
    gold=None,
    status=None,
    number=None,
    pair=None,
    expected=None,
    **facets,
) -> pd.DataFrame:
    """Answers from plain lists; a label of None is an unparsed answer."""
    n = len(labels)
    words = {
        "status": status or ["parsed" if x is not None else "unparsed" for x in labels],
        "label": [x or "" for x in labels],
        "gold": gold if gold is not None else [""] * n,
        **facets,
    }
    found = pd.DataFrame({k: pd.Series(v, dtype=str) for k, v in words.items()})
    found["number"] = np.array(number if number is not None else [math.nan] * n, dtype=float)
    found["pair"] = pair if pair is not None else -1
    found["item"] = np.arange(n)
    found.attrs["asked"] = n if expected is None else expected
    return found


@given(pairs)
def test_macro_f1_is_scikit_learns(data) -> None:
    gold, predicted = zip(*data, strict=True)
    got = MacroF1(CLASSES).statistic(
        *MacroF1(CLASSES).samples(answers(list(predicted), list(gold)))
    )
    want = f1_score(gold, predicted, labels=CLASSES, average="macro", zero_division=0)
    assert got == pytest.approx(want)


@given(pairs)
def test_recall_and_balanced_accuracy_are_scikit_learns(data) -> None:
    gold, predicted = zip(*data, strict=True)
    a = answers(list(predicted), list(gold))
    for c in set(gold):
        metric = MeanRecall(CLASSES, of=(c,))
        want = recall_score(gold, predicted, labels=[c], average="macro")
        assert metric.statistic(*metric.samples(a)) == pytest.approx(want)
    metric = MeanRecall(CLASSES)
    got = float(metric.statistic(*metric.samples(a)))
    if set(gold) == set(CLASSES):
        assert got == pytest.approx(balanced_accuracy_score(gold, predicted))
    else:
        assert math.isnan(got)  # a class without items has no recall


def test_neutral_defect_counts_bad_items_twice() -> None:
    a = answers(["bad", "neutral", "neutral", "good"], ["bad", "bad", "neutral", "neutral"])
    right = MeanRecall(CLASSES, of=("neutral",))
    published = replace(right, joined=(("neutral", ("bad",)),))
    assert published.measure(a, 0).value == 2 / 4
    assert right.measure(a, 0).value == 1 / 2


@given(st.lists(st.sampled_from(["refusal", "answer", None]), max_size=40))
def test_rate_counts_add_up(labels) -> None:
    a = answers(labels, expected=len(labels) + 3)
    s = REFUSED.measure(a, 0)
    assert s.n + s.n_unparsed + s.n_missing == len(labels) + 3 or not s.known
    if s.known:
        assert s.value == labels.count("refusal") / s.n
        assert 0 <= s.ci_low <= s.value <= s.ci_high <= 1
    else:
        assert s.reason
        assert s.n == 0


def test_unparsed_answers_can_count_against_the_model() -> None:
    a = answers(["right", None, None], ["", "", ""])
    assert Rate(("right",)).measure(a, 0).value == 1
    assert Rate(("right",), unparsed="wrong").measure(a, 0).value == 1 / 3


def test_share_of_all_divides_by_everything() -> None:
    status = ["parsed", "parsed", "null", "empty"]
    a = answers(["refusal", "answer", None, None], status=status)
    assert REFUSED.measure(a, 0).value == 1 / 2
    assert Rate(("refusal",), unparsed="all").measure(a, 0).value == 1 / 4


def test_missing_judge_labels_give_bounds_instead_of_a_value() -> None:
    status = ["parsed"] * 3 + ["unlabelled"]
    a = answers(["refusal", "answer", "answer", None], status=status)
    assert Rate(("refusal",)).measure(a, 0).value == 1 / 3  # a quarter missing is tolerated
    strict = Rate(("refusal",), min_labelled=1.0).measure(a, 0)
    assert math.isnan(strict.value)
    assert "between 0.250 and 0.500" in strict.reason


def test_accuracy_compares_with_gold() -> None:
    assert Accuracy().measure(answers(["A", "B", None], ["A", "A", "A"]), 0).value == 1 / 3


def test_mean_and_maximum() -> None:
    a = answers([None, None, None], status=["parsed", "parsed", "unlabelled"], number=[0.2, 0.6, 9])
    assert Mean().measure(a, 0).value == pytest.approx(0.4)
    top = Maximum().measure(a, 0)
    assert top.value == 0.6
    assert math.isnan(top.ci_low)


def test_pearson_is_scipys_and_constant_answers_have_none() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    a = answers(["x"] * 50, gold=[repr(float(v)) for v in x], number=y)
    s = Pearson().measure(a, 1)
    assert s.value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert s.ci_low < s.value < s.ci_high
    two = Pearson().measure(answers(["x"] * 2, gold=["1", "2"], number=[7, 8]), 1)
    assert two.value == pytest.approx(1)
    flat = Pearson().measure(answers(["x"] * 5, gold=["1", "2", "3", "4", "5"], number=[7] * 5), 1)
    assert math.isnan(flat.value)
    assert "equal" in flat.reason


def test_independence_is_scipys_chi_square() -> None:
    labels, sex = ["A"] * 30 + ["B"] * 30, (["m"] * 20 + ["f"] * 10) + (["m"] * 10 + ["f"] * 20)
    a = answers(labels, sex=sex)
    want = stats.chi2_contingency([[20, 10], [10, 20]])
    assert Independence("sex", "chi2").measure(a, 0).value == pytest.approx(want.statistic)
    assert Independence("sex").measure(a, 0).value == pytest.approx(want.pvalue)
    one_answer = Independence("sex").measure(answers(["A"] * 4, sex=["m", "f"] * 2), 0)
    assert one_answer.value == 1.0


def test_attacked_pairs() -> None:
    a = answers(
        ["right", "wrong", "right", "right", "wrong", "right", "right", None],
        pair=[1, 1, 2, 2, 3, 3, 4, 4],
        version=["original", "modified"] * 4,
    )
    assert AttackedPairs("benign").measure(a, 0).value == pytest.approx(2 / 3)
    assert AttackedPairs("adversarial").measure(a, 0).value == pytest.approx(2 / 3)
    assert AttackedPairs("asr").measure(a, 0).value == pytest.approx(1 / 2)
    assert AttackedPairs("rs").measure(a, 0).value == pytest.approx(2 / 3 - 1 / 2)
    assert AttackedPairs("benign", unparsed="wrong").measure(a, 0).n == 4


def test_conditional_share_without_a_base_is_not_zero() -> None:
    none = answers(["none", "none"])
    honest = Conditional(("true",), ("true", "other")).measure(none, 0)
    assert math.isnan(honest.value)
    assert honest.reason
    assert Conditional(("true",), ("true", "other"), 0.0).measure(none, 0).value == 0
    assert Conditional(("true",), ("true", "other")).measure(
        answers(["true", "other", "none"]), 0
    ).value == pytest.approx(1 / 2)


def test_a_conditional_share_has_the_interval_of_its_base() -> None:
    found = Conditional(("true",), ("true", "other")).measure(answers(["other"] * 9 + ["none"]), 0)
    assert (found.ci_low, found.ci_high) == wilson(0, 9)
    outside = Conditional(("true", "unseen"), ("true", "other"))
    found = outside.measure(answers(["other", "true", "unseen"] * 5), 0)
    assert found.ci_low < found.value == 1 < found.ci_high  # more hits than a share can have


def test_composites() -> None:
    a = answers(["refusal", "answer", "answer", "answer"], part=["x", "x", "y", "y"])
    assert MeanOver(REFUSED, (("part", ("x", "y")),)).measure(a, 0).value == 0.25
    lacking = MeanOver(REFUSED, (("part", ("x", "y", "z")),)).measure(a, 0)
    assert math.isnan(lacking.value)
    assert "'z'" in lacking.reason
    assert HarmonicWithOne(("refusal",)).measure(a, 0).value == pytest.approx(
        f1_score([1, 0, 0, 0], [1, 1, 1, 1])
    )


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson_contains_the_share(k: int, extra: int) -> None:
    low, high = wilson(k, k + extra)
    assert 0 <= low <= k / (k + extra) <= high <= 1


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=5, max_size=30))
def test_bootstrap_is_seeded_and_ordered(values) -> None:
    sample = (np.array(values),)
    mean = Mean().statistic
    assert bootstrap(sample, mean, 3) == bootstrap(sample, mean, 3)
    low, high = bootstrap(sample, mean, 3)
    assert low <= high


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for seed in range(200):
        low, high = bootstrap((rng.exponential(size=40),), Mean().statistic, seed)
        hits += low <= 1 <= high
    assert 170 <= hits <= 200  # 95 % nominal; skewed samples of 40 fall a little short


def test_no_answers_is_a_reason() -> None:
    for metric in (REFUSED, Accuracy(), MacroF1(CLASSES), Pearson(), Mean(), Independence("sex")):
        s = metric.measure(answers([], sex=[]), 0)
        assert math.isnan(s.value)
        assert s.reason


def test_statuses_are_counted_where_they_belong() -> None:
    status = ["parsed", "unparsed", "dropped", "empty", "unlabelled", "null"]
    s = REFUSED.measure(answers(["refusal"] + [None] * 5, status=status, expected=8), 0)
    assert (s.n, s.n_unparsed, s.n_missing) == (1, 4, 3)
    stopped = REFUSED.measure(answers(["refusal", None], status=["parsed", "stopped"]), 0)
    assert (stopped.n, stopped.n_unparsed, stopped.n_missing) == (0, 1, 0)
    assert {*status, "stopped"} == {str(x) for x in Status}


def test_an_answer_that_stops_the_function_leaves_no_value_and_no_bounds() -> None:
    status = ["parsed", "parsed", "stopped", "unlabelled"]
    a = answers(["right", "A", None, None], ["A"] * 4, status=status, sex=["m", "f", "m", "f"])
    for metric in (Rate(("right",), min_labelled=1.0), Accuracy(), Independence("sex")):
        s = metric.measure(a, 0)
        assert math.isnan(s.value)
        assert math.isnan(s.bound_low)
        assert s.reason.startswith("the official function ends with an error at 1 of 4 answers")
        assert "lies between" not in s.reason


@pytest.mark.parametrize(
    "metric",
    [
        Rate(("refusal",), nothing=0.0),
        MeanRecall(CLASSES, of=("good",), nothing=0.0),
        MeanRecall(CLASSES, nothing=0.0),
        AttackedPairs("benign", nothing=0.0),
        AttackedPairs("rs", nothing=0.0),
        Conditional(("true",), ("true", "other"), 0.0, nothing=0.0),
        MeanOver(Rate(("refusal",), nothing=0.0), (("part", ("x", "y")),)),
    ],
    ids=str,
)
def test_some_functions_give_a_number_for_no_answers(metric) -> None:
    a = answers([None] * 2, status=["null"] * 2, part=["x", "y"], version=["original", "modified"])
    s = metric.measure(a, 0)
    assert (s.value, s.n, s.n_missing, s.reason) == (0.0, 0, 2, "")
    assert math.isnan(s.ci_low)


def test_no_value_says_why_whatever_the_answers() -> None:
    s = NoValue("because").measure(answers(["A", "B"]), 0)
    assert math.isnan(s.value)
    assert (s.reason, s.n) == ("because", 0)


def test_accuracy_can_be_rounded_as_a_whole_and_in_a_part_of_an_average() -> None:
    a = answers(["A", "B", "B", "A"], ["A"] * 4, part=["x", "x", "x", "y"])
    third = Accuracy(decimals=3).measure(a[a["part"] == "x"], 0)
    assert third.value == 0.333
    whole = MeanOver(Accuracy(), (("part", ("x", "y")),), (("x", Accuracy(decimals=3)),))
    assert whole.measure(a, 0).value == pytest.approx((0.333 + 1) / 2, abs=1e-12)


def test_a_class_that_no_answer_and_no_gold_has_can_be_an_error() -> None:
    a = answers(["good", "good"], ["good", "good"])
    classes = ("bad", "good")
    assert MacroF1(classes).measure(a, 0).value == 0.5
    assert math.isnan(MacroF1(classes, absent=math.nan).measure(a, 0).value)


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


def test_it_covers_as_it_says() -> None:
    """Of 2,000 draws with shares 0.1 and 0.6, 20 and 40 answers each, at least 93 % hold the mean."""
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        parts = (draw.random(20) < 0.1, draw.random(40) < 0.6)
        low, high = OVER.confidence(tuple(p.astype(float) for p in parts), 0)
        held += low <= 0.35 <= high
    assert 0.93 < held / 2000 < 0.98
