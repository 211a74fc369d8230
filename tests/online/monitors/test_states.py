"""Layers and tables of hidden states."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online.made import states, trace
from trustllm_repro.online.monitors.base import Generation, InsufficientData
from trustllm_repro.online.monitors.probe import LinearProbe
from trustllm_repro.online.monitors.states import layer_of, safe_table, table


def two_layers() -> list[Generation]:
    one = trace(["x"], hidden=np.zeros((1, 2)))
    return [Generation(type(one)(**{**vars(one), "hidden": {7: one.hidden[1], 12: one.hidden[1]}}))]


@pytest.mark.parametrize(("layer", "found"), [(7, 7), (12, 12), (-1, 12), (-2, 7)])
def test_layers_count_among_those_recorded(layer: int, found: int) -> None:
    assert layer_of(two_layers(), layer) == found


@pytest.mark.parametrize("layer", [1, 0, -3, 13])
def test_layers_not_recorded_are_named(layer: int) -> None:
    with pytest.raises(InsufficientData, match=r"7, 12"):
        layer_of(two_layers(), layer)


def test_tables_hold_so_many_tokens_of_each_answer() -> None:
    seen = states(0, 3, 10)
    rows, owner = table(seen, 1, most=4)
    assert rows.shape == (12, 8)
    assert np.bincount(owner).tolist() == [4, 4, 4]
    again, _ = table(seen, 1, most=4)
    assert np.array_equal(rows, again)
    assert len(table(seen, 1)[0]) == 30


def test_states_that_are_no_numbers_are_left_out() -> None:
    seen = states(0, 2, 3)
    seen[0].trace.hidden[1][1] = np.nan
    assert np.bincount(table(seen, 1)[1]).tolist() == [2, 3]
    with pytest.raises(InsufficientData):
        table([Generation(trace(["x"], hidden=[[np.inf, 0]]))], 1)


def test_safe_answers_only() -> None:
    seen = states(0, 3, 2)
    rows = safe_table(seen, np.array([True, False, True]), 1)
    assert np.array_equal(rows, seen[1].trace.hidden[1].astype(np.float32))


def test_no_number_in_a_state_no_score_from_there_on() -> None:
    seen = states(0, 6, 4) + states(1, 6, 4, shift=3)
    monitor = LinearProbe("p").fit(seen, np.arange(12) >= 6)
    seen[0].trace.hidden[1][2] = np.nan
    assert np.isnan(monitor(seen)[0]).tolist() == [False, False, True, True]
    assert np.isfinite(monitor(seen)[1]).all()
