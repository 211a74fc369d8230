"""Figures of monitors: identities, scikit-learn's values, and intervals that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sklearn")
from sklearn.metrics import average_precision_score, roc_auc_score

from trustllm_repro.online.studies.scores import Alarms, auprc, auroc, paired_auroc

LABELLED = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(LABELLED)
def test_identities(drawn) -> None:
    unsafe, alarm = (np.array(x) for x in zip(*drawn, strict=True))
    counts = Alarms.of(alarm, unsafe)
    found = {k: s.value for k, s in counts.scores().items()}
    base = unsafe.mean()
    assert found["SG"] + found["RH"] == pytest.approx(base)
    assert (alarm == unsafe).mean() == pytest.approx(1 - found["RH"] - found["AC"])
    if base:
        assert found["recall"] == pytest.approx(found["SG"] / base)
    else:
        assert math.isnan(found["recall"])
        assert counts.scores()["recall"].reason == "no unsafe answer"


@given(st.lists(st.booleans(), min_size=1, max_size=40).map(np.array))
def test_trivial_monitors(unsafe) -> None:
    p = unsafe.mean()
    never = Alarms.of(np.zeros(len(unsafe), bool), unsafe).scores()
    always = Alarms.of(np.ones(len(unsafe), bool), unsafe).scores()
    assert [never[k].value for k in ("SG", "RH", "AC")] == pytest.approx([0, p, 0])
    assert [always[k].value for k in ("SG", "RH", "AC")] == pytest.approx([p, 0, 1 - p])


@given(LABELLED, LABELLED)
def test_or_gains_and_costs_and_and_the_reverse(one, two) -> None:
    n = min(len(one), len(two))
    unsafe = np.array([u for u, _ in one[:n]])
    a, b = np.array([x for _, x in one[:n]]), np.array([x for _, x in two[:n]])
    either, both = Alarms.of(a | b, unsafe), Alarms.of(a & b, unsafe)
    for member in (Alarms.of(a, unsafe), Alarms.of(b, unsafe)):
        assert either.tp >= member.tp >= both.tp
        assert either.fp >= member.fp >= both.fp


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=50))
def test_areas_are_scikit_learns(drawn) -> None:
    unsafe = np.array([u for u, _ in drawn])
    danger = np.array([float(d) for _, d in drawn])
    if unsafe.all() or not unsafe.any():
        assert math.isnan(auroc(unsafe, danger).value)
        assert "answers are" in auroc(unsafe, danger).reason
        assert math.isnan(auprc(unsafe, danger).value)
        return
    found = auroc(unsafe, danger)
    assert found.value == pytest.approx(roc_auc_score(unsafe, danger))
    assert auprc(unsafe, danger).value == pytest.approx(average_precision_score(unsafe, danger))
    assert math.isnan(found.ci_low) or found.ci_low <= found.value <= found.ci_high
    assert auroc(unsafe, -danger).value == pytest.approx(1 - found.value)


def test_answers_without_a_score_are_counted_not_guessed() -> None:
    unsafe = np.array([True, False, True, False, True])
    found = auroc(unsafe, np.array([0.9, 0.1, np.nan, np.nan, 0.4]))
    assert (found.value, found.n, found.n_unparsed) == (1, 3, 2)
    nothing = auroc(unsafe, np.full(5, np.nan))
    assert math.isnan(nothing.value)
    assert nothing.reason == "no answer has a score"


def test_the_interval_covers() -> None:
    """Normal scores one apart: AUROC is 0.760; 500 draws of 40 and 60 answers."""
    draw = np.random.default_rng(1)
    unsafe = np.arange(100) < 40
    held = 0
    for _ in range(500):
        found = auroc(unsafe, draw.normal(size=100) + unsafe)
        held += found.ci_low <= 0.7602 <= found.ci_high
    assert 0.92 < held / 500 < 0.98


def test_paired_differences() -> None:
    draw = np.random.default_rng(2)
    unsafe = np.arange(200) < 80
    good = draw.normal(size=200) + 1.5 * unsafe
    poor = draw.normal(size=200)
    gap, p = paired_auroc(unsafe, good, poor)
    assert gap == pytest.approx(roc_auc_score(unsafe, good) - roc_auc_score(unsafe, poor))
    assert p < 1e-4
    assert paired_auroc(unsafe, good, good) == (0, 1)
    assert paired_auroc(unsafe, poor, good)[1] == pytest.approx(p)
    assert np.isnan(paired_auroc(np.ones(200, bool), good, poor)).all()


def test_of_equals_few_are_found_to_differ() -> None:
    draw = np.random.default_rng(3)
    unsafe = np.arange(120) < 60
    found = [
        paired_auroc(unsafe, draw.normal(size=120) + unsafe, draw.normal(size=120) + unsafe)[1]
        < 0.05
        for _ in range(400)
    ]
    assert 0.02 < np.mean(found) < 0.09
