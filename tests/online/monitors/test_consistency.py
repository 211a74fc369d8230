"""VR and VRO: identities and distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.online.monitors.consistency import by_words, checkpoints, vr, vro


def test_identical_answers_have_no_variation() -> None:
    same = by_words(["a red tram"] * 4)
    assert (vr(same), vro(same)) == (0, 0)


def test_answers_with_no_word_in_common_have_all() -> None:
    other = by_words(["red", "green", "blue", "black"])
    assert (vr(other), vro(other)) == (1, 1)


def test_the_greedy_answer_stands_apart() -> None:
    d = by_words(["red", "green", "green", "green"])
    assert (vr(d), vro(d)) == (0, 1)


@given(st.lists(st.text("ab ", max_size=6), min_size=3, max_size=6))
def test_as_their_definitions(texts) -> None:
    d = by_words(texts)
    t = len(texts) - 1
    outer = [np.mean([1 - d[i, j] for j in range(1, t + 1) if j != i]) for i in range(1, t + 1)]
    assert vr(d) == pytest.approx(1 - np.mean(outer))
    assert vro(d) == pytest.approx(1 - np.mean([1 - d[0, i] for i in range(1, t + 1)]))
    assert np.array_equal(d, d.T)
    assert d.min() >= 0
    assert d.max() <= 1


def test_too_few_answers_are_no_variation_of_zero() -> None:
    assert np.isnan(vr(by_words(["a", "b"])))
    assert np.isnan(vro(by_words(["a"])))


@pytest.mark.parametrize(
    ("n", "at"), [(0, []), (1, [1]), (8, [8]), (9, [8, 9]), (40, [8, 16, 32, 40])]
)
def test_the_end_is_always_a_checkpoint(n: int, at: list[int]) -> None:
    assert checkpoints(n, (8, 16, 32, 64)) == at
