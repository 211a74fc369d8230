"""Levels: which monitors run at each, and what an answer looks like there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.online.made import words
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.generations.levels import (
    LEVELS,
    STATES,
    TEXT,
    TOP5,
    level_of,
    mask,
    runs_at,
)
from trustllm_repro.online.monitors.base import all_monitors


def test_more_runs_the_more_is_seen() -> None:
    found = runs_at(all_monitors()).set_index("monitor")
    assert set(found.columns) == {"access", "level", "runs", "coarse", "reason"}
    running = found[found["runs"]].groupby("level").size()
    assert running.reindex(list(LEVELS)).is_monotonic_increasing
    assert ((found["reason"] == "") == found["runs"]).all()
    assert set(found.loc["token probe"].query("runs")["level"]) == {STATES.name}
    assert set(found.loc["average entropy"].query("coarse")["level"]) == {TOP5.name}
    assert set(found.loc["self-examination"].query("coarse")["level"]) == {TEXT.name}


def test_what_a_level_does_not_show_is_gone() -> None:
    top = np.log(np.full((2, 5), 0.1, np.float32))
    trace = words("It is", entropy=[3.0, 2.0], hidden=np.ones((2, 4)), top=top)
    trace = replace(trace, first_ids=np.arange(9), first_logp=np.zeros(9))
    whole = Generation(trace, branches={"a": ["b"]}, replies={"harmful": [[2, 0.7, 1.0]]})
    five, text = mask(whole, TOP5), mask(whole, TEXT)
    assert mask(whole, STATES).trace.hidden is trace.hidden
    assert (five.trace.hidden, five.branches, len(five.trace.first_ids)) == ({}, {}, 5)
    assert np.allclose(five.trace.entropy, np.log(5))
    assert five.replies == whole.replies
    assert np.isnan(text.trace.logp).all()
    assert (text.trace.text, text.trace.ends.tolist()) == ("It is", [2, 5])
    assert [list(row) for row in text.replies["harmful"]] == [[2, 1.0, 1.0]]
    assert [level_of([g]) for g in (whole, five, text)] == [STATES, TOP5, TEXT]
