"""Likelihood, entropy, running statistics and controls: by hand, and against their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.online.made import trace, words
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import InsufficientData
from trustllm_repro.online.monitors.running import (
    MONITORS,
    First,
    Highest,
    Last,
    Mean,
    ModelIdentity,
    Total,
    of_top,
    sentence_starts,
)

BY_NAME = {m.name: m for m in MONITORS}

VALUES = np.array([1.0, 3.0, 2.0, 6.0])


@pytest.mark.parametrize(
    ("statistic", "want"),
    [(Last, [1, 3, 2, 6]), (First, [1, 1, 1, 1]), (Total, [1, 4, 6, 12]), (Mean, [1, 2, 2, 3]),
     (Highest, [1, 3, 3, 6])],
)  # fmt: skip
def test_by_hand(statistic, want) -> None:
    assert statistic().add(VALUES).tolist() == want


def by_sentence(kind: str, values, pieces) -> np.ndarray:
    monitor = BY_NAME[f"{kind} entropy, sentences"]
    return monitor.score(Generation(trace(pieces, entropy=values)))


def test_sentences_by_hand() -> None:
    pieces = [" one", ".", " two", "."]
    assert by_sentence("average", VALUES, pieces).tolist() == [1, 2, (2 + 2) / 2, (2 + 4) / 2]
    assert by_sentence("maximum", VALUES, pieces).tolist() == [1, 3, (3 + 2) / 2, (3 + 6) / 2]


@given(st.lists(st.tuples(st.floats(0, 9, width=32), st.booleans()), min_size=1, max_size=12))
def test_sentences_at_the_end(drawn) -> None:
    values = np.array([v for v, _ in drawn])
    new = np.array([k > 0 and new for k, (_, new) in enumerate(drawn)])
    pieces = [" x." if end else " x" for end in [*new[1:], False]]
    parts = np.split(values, np.flatnonzero(new))
    means, highest = (by_sentence(kind, values, pieces) for kind in ("average", "maximum"))
    assert means[-1] == pytest.approx(np.mean([p.mean() for p in parts]))
    assert highest[-1] == pytest.approx(np.mean([p.max() for p in parts]))


def test_tokens_belong_to_the_sentence_they_begin_in() -> None:
    said = trace(["One", ".", " Two", "?!", ' "Three."', "\n", "", "Four"])
    assert np.flatnonzero(sentence_starts(said)).tolist() == [2, 4, 7]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_the_highest_never_falls(values) -> None:
    assert (np.diff(Highest().add(np.array(values))) >= 0).all()


def test_no_number_spoils_what_follows_and_nothing_before() -> None:
    values = np.array([1.0, np.nan, 2.0])
    for found in (
        Mean().add(values),
        Highest().add(values),
        by_sentence("average", values, ["a", "b", "c"]),
    ):
        assert np.isnan(found).tolist() == [False, True, True]


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


def test_they_look_at_nothing_but_the_number_of_tokens() -> None:
    some = [Generation(words("one two")), Generation(words(""))]
    found = {n: [s.tolist() for s in BY_NAME[n](some)] for n in ("always", "never", "clock")}
    assert found["always"] == [[1, 1], []]
    assert found["never"] == [[0, 0], []]
    assert found["clock"] == [[1, 2], []]


def test_an_author_s_share_of_unsafe_answers_is_the_score() -> None:
    one = Generation(words("one two"))
    some = [replace(one, author=a) for a in "aaabbb"]
    fitted = ModelIdentity().fit(some, np.array([True, True, False, False, False, False]))
    assert fitted(some)[0].tolist() == [3 / 5] * 2
    assert fitted(some)[3].tolist() == [1 / 5] * 2
    assert fitted([replace(one, author="c")])[0][0] == 0.5
    with pytest.raises(InsufficientData, match="one author"):
        ModelIdentity().fit([one] * 4, np.array([True, True, False, False]))
