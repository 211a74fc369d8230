"""Rates corrected for a judge's errors: right on average, and honest about how much is not known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.metrics.test_measures import answers
from trustllm_repro.metrics.judge_error import (
    BetaAcrossModels,
    JudgeError,
    judge_corrected,
    rogan_gladen,
)
from trustllm_repro.metrics.measures import NOT_REFUSED, REFUSED, Mean, MeanOver, Rate

EXACT = BetaAcrossModels(0.999999, 1e9)


def judged(n_refusals: int, n: int):
    return answers(["refusal"] * n_refusals + ["answer"] * (n - n_refusals))


def error(se: float, sp: float, precision: float = 1e7) -> JudgeError:
    return JudgeError(BetaAcrossModels(se, precision), BetaAcrossModels(sp, precision))


@given(st.floats(0, 1), st.floats(0.65, 1), st.floats(0.65, 1))
def test_correcting_undoes_the_judge(p, se, sp) -> None:
    reported = p * se + (1 - p) * (1 - sp)
    assert float(rogan_gladen(np.array(reported), se, sp)) == pytest.approx(p, abs=1e-9)


def test_a_faultless_judge_changes_nothing() -> None:
    value, low, high = judge_corrected(REFUSED, judged(30, 100), JudgeError(EXACT, EXACT), 1)
    assert value == pytest.approx(0.3, abs=1e-4)
    assert low < 0.3 < high


def test_the_other_label_swaps_sensitivity_and_specificity() -> None:
    e = error(0.9, 0.7)
    refused = judge_corrected(REFUSED, judged(60, 100), e, 1)[0]
    assert refused == pytest.approx((0.6 + 0.7 - 1) / 0.6, abs=1e-6)
    assert judge_corrected(NOT_REFUSED, judged(60, 100), e, 1)[0] == pytest.approx(
        1 - refused, abs=1e-6
    )


def test_an_average_of_rates_is_corrected_part_by_part() -> None:
    a = answers(["refusal", "answer", "refusal", "refusal"], side=["a", "a", "b", "b"])
    metric = MeanOver(REFUSED, (("side", ("a", "b")),))
    value = judge_corrected(metric, a, error(0.9, 0.8), 1)[0]
    assert value == pytest.approx(((0.5 - 0.2) / 0.7 + 1) / 2, abs=1e-6)


def test_the_interval_widens_with_what_is_not_known_of_the_judge() -> None:
    widths = []
    for precision in (1e7, 300, 30):
        _, low, high = judge_corrected(REFUSED, judged(400, 1000), error(0.9, 0.9, precision), 1)
        widths.append(high - low)
    assert widths[0] < widths[1] < widths[2]


def test_intervals_cover_the_true_rate_where_models_differ() -> None:
    """Simulated: judges' errors vary over models; 95 % intervals must cover in about 95 %."""
    rng, covered, rounds = np.random.default_rng(7), 0, 200
    for i in range(rounds):
        se, sp = rng.beta(45, 5, 9), rng.beta(57, 3, 9)
        true = rng.uniform(0.1, 0.9)
        positive, negative = rng.binomial(200, true, 9), np.zeros(9, int)
        negative = 200 - positive
        tp, tn = rng.binomial(positive[1:], se[1:]), rng.binomial(negative[1:], sp[1:])
        known = pd.DataFrame({"tp": tp, "fp": negative[1:] - tn, "fn": positive[1:] - tp, "tn": tn})
        said = rng.binomial(positive[0], se[0]) + rng.binomial(negative[0], 1 - sp[0])
        _, low, high = judge_corrected(REFUSED, judged(int(said), 200), JudgeError.of(known), i)
        covered += low <= true <= high
    assert 0.9 <= covered / rounds <= 1.0


def test_spread_tells_models_that_differ_from_models_that_do_not() -> None:
    alike = BetaAcrossModels.fit([90, 91, 89, 90], [100] * 4)
    different = BetaAcrossModels.fit([99, 60, 95, 80], [100] * 4)
    assert alike.mean == pytest.approx(0.9, abs=0.01)
    assert alike.precision > 100 > different.precision


def test_one_measured_model_says_nothing_of_the_next() -> None:
    assert BetaAcrossModels.fit([90], [100]).precision == pytest.approx(2)
    assert BetaAcrossModels.fit([90], [100], borrowed=30.0).precision == pytest.approx(30)
    assert BetaAcrossModels.fit([9], [10], borrowed=1e6).precision == pytest.approx(
        11
    )  # never more than cases
    assert BetaAcrossModels.fit([0, 0], [0, 0]) is None


def test_what_cannot_be_corrected_is_left_alone() -> None:
    e = error(0.9, 0.9)
    assert judge_corrected(Mean(), answers(["a"], number=[0.5]), e, 1) is None
    assert judge_corrected(Rate(("a", "b")), answers(["a"]), e, 1) is None
    assert judge_corrected(REFUSED, answers([None, None]), e, 1) is None
    assert judge_corrected(REFUSED, judged(1, 2), error(0.55, 0.55), 1) is None
    assert JudgeError.of(pd.DataFrame([{"tp": 5, "fp": 0, "fn": 1, "tn": 0}])) is None


def test_the_same_seed_gives_the_same_interval() -> None:
    one, two = (judge_corrected(REFUSED, judged(3, 9), error(0.9, 0.9, 50), 4) for _ in range(2))
    assert one == two
    assert not any(map(math.isnan, one))
