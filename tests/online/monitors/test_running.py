"""Likelihood, entropy and running statistics: by hand, and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.online.made import trace
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors import running
from trustllm_repro.online.monitors.running import MONITORS, of_top

BY_NAME = {m.name: m for m in MONITORS}

VALUES = np.array([1.0, 3.0, 2.0, 6.0])
TWO = np.array([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("statistic", "want"),
    [
        (running.token, [1, 3, 2, 6]),
        (running.mean, [1, 2, 2, 3]),
        (running.highest, [1, 3, 3, 6]),
        (running.sentence_mean, [1, 2, (2 + 2) / 2, (2 + 4) / 2]),
        (running.sentence_highest, [1, 3, (3 + 2) / 2, (3 + 6) / 2]),
    ],
)
def test_by_hand(statistic, want) -> None:
    assert statistic(VALUES, TWO).tolist() == want


@given(st.lists(st.tuples(st.floats(0, 9), st.booleans()), min_size=1, max_size=12))
def test_sentences_at_the_end(drawn) -> None:
    values = np.array([v for v, _ in drawn])
    sentences = np.cumsum([new for _, new in drawn])
    parts = [values[sentences == k] for k in np.unique(sentences)]
    assert running.sentence_mean(values, sentences)[-1] == pytest.approx(
        np.mean([p.mean() for p in parts])
    )
    assert running.sentence_highest(values, sentences)[-1] == pytest.approx(
        np.mean([p.max() for p in parts])
    )


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_the_highest_never_falls(values) -> None:
    assert (np.diff(running.highest(np.array(values), np.zeros(len(values)))) >= 0).all()


def test_no_number_spoils_what_follows_and_nothing_before() -> None:
    values = np.array([1.0, np.nan, 2.0])
    for statistic in (running.mean, running.highest, running.sentence_mean):
        assert np.isnan(statistic(values, np.zeros(3))).tolist() == [False, True, True]


def test_entropies_by_hand() -> None:
    seen = [Generation(trace(["a", "b", "c"], entropy=[1.0, 5.0, 3.0]))]
    assert BY_NAME["average entropy"](seen)[0].tolist() == [1, 3, 3]
    assert BY_NAME["maximum entropy"](seen)[0].tolist() == [1, 5, 5]


def test_the_likeliest_are_made_to_sum_to_one() -> None:
    some = trace(["a", "b"], top=np.log([[0.1, 0.1, 0.1, 0.1, 0.1], [0.2, 0.2, 1e-9, 1e-9, 1e-9]]))
    assert of_top(some) == pytest.approx([np.log(5), np.log(2)], abs=1e-5)


def test_ruled_out_tokens_add_nothing() -> None:
    some = trace(["a"], top=[[0.0, -np.inf, -np.inf, -np.inf, -np.inf]])
    assert of_top(some).tolist() == [0]


def test_likelihoods_by_hand() -> None:
    seen = [Generation(trace(["One.", " Two", " three"], logp=[-1.0, -4.0, -2.0]))]
    found = {m.name: m(seen)[0].tolist() for m in MONITORS if "likelihood" in m.name}
    assert found == {
        "average likelihood": pytest.approx([1, 2.5, 7 / 3]),
        "maximum likelihood": [1, 4, 4],
        "average likelihood, sentences": pytest.approx([1, 2.5, (1 + 3) / 2]),
        "maximum likelihood, sentences": [1, 2.5, 2.5],
    }
