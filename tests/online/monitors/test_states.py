"""Layers and tables of hidden states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.online.made import states, trace
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import InsufficientData
from trustllm_repro.online.monitors.probes import TokenProbe
from trustllm_repro.online.monitors.states import states_of

PROBE = TokenProbe("p")


@pytest.mark.parametrize(
    ("depths", "layers"),
    [
        ((1.0,), [30]),
        ((0.5,), [15]),
        ((1 / 3, 1 / 2, 2 / 3), [10, 15, 20]),
        ((0.4, 0.45), [10, 15]),
    ],
)
def test_layers_are_the_nearest_ones_recorded(depths, layers) -> None:
    one = replace(trace(["x"]), hidden={n: np.full((1, 2), n) for n in (30, 10, 20, 15)})
    assert states_of(one, depths).tolist() == [[n for n in layers for _ in range(2)]]


def test_a_layer_stands_once_where_few_were_recorded() -> None:
    assert states_of(trace(["x"], hidden=[[1, 2]]), (1 / 3, 1 / 2, 2 / 3)).shape == (1, 2)
    with pytest.raises(InsufficientData, match="no hidden states"):
        states_of(trace(["x"]), (1.0,))


def test_tables_hold_so_many_tokens_of_each_answer() -> None:
    some = states(0, 3, 10)
    assert [s.shape for s in PROBE.known_states(some, 4)] == [(4, 8)] * 3
    again = PROBE.known_states(some, 4)
    assert all(
        np.array_equal(a, b) for a, b in zip(again, PROBE.known_states(some, 4), strict=True)
    )
    assert sum(map(len, PROBE.known_states(some))) == 30


def test_states_that_are_no_numbers_are_left_out() -> None:
    some = states(0, 2, 3)
    some[0].trace.hidden[1][1] = np.nan
    assert list(map(len, PROBE.known_states(some))) == [2, 3]
    with pytest.raises(InsufficientData):
        PROBE.known_states([Generation(trace(["x"], hidden=[[np.inf, 0]]))])


def test_safe_answers_only() -> None:
    some = states(0, 3, 2)
    rows = PROBE.safe_states(some, np.array([True, False, True]))
    assert np.array_equal(rows, some[1].trace.hidden[1].astype(np.float32))


def test_no_number_in_a_state_no_score_from_there_on() -> None:
    some = states(0, 6, 4) + states(1, 6, 4, shift=3)
    monitor = PROBE.fit(some, np.arange(12) >= 6)
    some[0].trace.hidden[1][2] = np.nan
    assert np.isnan(monitor(some)[0]).tolist() == [False, False, True, True]
    assert np.isfinite(monitor(some)[1]).all()
