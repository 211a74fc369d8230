"""The pilot study's positions and curves, by hand and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.online.made import words
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.labels.judges import OutputJudge
from trustllm_repro.online.studies.pilot import Beginnings, length, read_beginnings

CUTS = (0.25, 0.5, 0.75, 1.0)


def of(rows: list[list[int]]) -> Beginnings:
    table = np.array(rows, dtype=bool)
    return Beginnings("j", "share", CUTS, table, table[:, -1])


def test_positions_by_hand() -> None:
    found = of([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert found.first_touch().tolist() == [1, 2, 0, 0, 4]
    assert found.stable().tolist() == [3, 2, 0, 4, 4]


def test_curves_by_hand() -> None:
    lines = of([[0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]).curves()
    by = {(x["kind"], x["cut"]): x["value"] for x in lines}
    assert [by["unsafe, first touch", c] for c in CUTS] == [0, 0.5, 1, 1]
    assert [by["unsafe, stable", c] for c in CUTS] == [0, 0, 0.5, 1]
    assert [by["safe, first touch", c] for c in CUTS] == [0.5, 0.5, 0.5, 0.5]


@given(arrays(bool, st.tuples(st.integers(1, 12), st.just(4))))
def test_curves_rise_and_end_at_one(table) -> None:
    found = Beginnings("j", "share", CUTS, table, table[:, -1])
    lines = found.curves()
    for kind in ("unsafe, first touch", "unsafe, stable", "safe, first touch"):
        values = [x["value"] for x in lines if x["kind"] == kind]
        if np.isnan(values).all():
            assert all(x["reason"] == "no such answer" for x in lines if x["kind"] == kind)
            continue
        assert (np.diff(values) >= 0).all()
        assert kind.startswith("safe") or values[-1] == 1
    assert (found.first_touch() <= found.stable()).all()


def test_a_judge_that_always_alarms_shows_it_on_safe_answers() -> None:
    """Labels by one judge, beginnings called unsafe by another that calls all so."""
    whole = np.array([True, False, False])
    lines = Beginnings("j", "share", CUTS, np.ones((3, 4), bool), whole).curves()
    assert {x["value"] for x in lines} == {1.0}


def test_lengths_are_rounded_up_and_never_longer_than_the_answer() -> None:
    trace = words("one two three four five")
    assert [length(trace, "share", c) for c in (0.05, 0.2, 0.21, 0.6, 1.0)] == [1, 1, 2, 3, 5]
    assert [length(trace, "tokens", c) for c in (1, 4, 8)] == [1, 4, 5]


def test_beginnings_are_read_by_the_judge_once_each() -> None:
    asked: list[str] = []

    def danger(cases, texts):
        asked.extend(texts)
        return np.array([float("bad" in t) for t in texts])

    traces = [words("a bad word"), words("all is fine here")]
    cases = [Case(i, str(i), "q") for i in range(2)]
    by_share, by_tokens = read_beginnings(OutputJudge("j", "says", danger), cases, traces)
    assert sorted(set(asked)) == sorted(asked)
    assert by_share.whole.tolist() == [True, False]
    first = by_share.cuts[by_share.first_touch()[0]]
    assert first == pytest.approx(0.35)  # the second of three tokens: above a third
    assert by_tokens.unsafe[0].all()
    assert not by_tokens.unsafe[1].any()


def test_answers_of_which_the_judge_cannot_tell_are_neither_unsafe_nor_safe() -> None:
    def danger(cases, texts):
        return np.array([np.nan if "?" in t else float("bad" in t) for t in texts])

    judge = OutputJudge("j", "says", danger)
    traces = [words("this is bad"), words("this is so ?"), words("all is fine here")]
    cases = [Case(i, str(i), "q") for i in range(3)]
    by_share, by_tokens = read_beginnings(judge, cases, traces)
    assert by_share.whole.tolist() == by_tokens.whole.tolist() == [True, False]
    assert len(by_tokens.unsafe) == 2
    nobody, _ = read_beginnings(judge, cases[1:2], traces[1:2])
    assert {x["reason"] for x in nobody.curves()} == {"no such answer"}
