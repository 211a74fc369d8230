"""Levels of access: what is seen less of follows from a declaration, and nothing else changes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as shannon

pytest.importorskip("torch")

from tests.online.made import trace
from trustllm_repro.online.monitors.base import Access, Seen, all_monitors
from trustllm_repro.online.studies.levels import (
    LEVELS,
    PROBABILITIES,
    STATES,
    TEXT,
    TOP5,
    mask,
    up_to,
)

MONITORS = all_monitors()


def seen(n: int = 6, k: int = 5, seed: int = 0) -> Seen:
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(n, 50), scale=3.0)
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ranked = np.sort(logp, axis=1)[:, ::-1]
    one = trace(
        [f"w{i} " for i in range(n)], logp=logp[:, 0], hidden=draw.normal(size=(n, 4)),
        entropy=-(np.exp(logp) * logp).sum(axis=1), top=ranked[:, :k],
        first={i: float(p) for i, p in enumerate(ranked[0] if n else ())},
    )  # fmt: skip
    rows = np.array([[n, 0.7, 1.0]])
    return Seen(
        one, "p", [one, one], {"entropy jump": ("a", "b")}, {"harmful": rows, "supported": rows}
    )


def test_each_level_shows_what_the_one_below_shows() -> None:
    for less, more in pairwise(LEVELS):
        assert set(more.lacks) < set(less.lacks)
    runs = [{n for n, m in MONITORS.items() if not level.why_not(m)} for level in LEVELS]
    assert runs[0] < runs[1] < runs[2] < runs[3] == set(MONITORS)
    assert up_to(TOP5) == (TEXT, TOP5)


def test_who_runs_follows_from_access() -> None:
    for name, monitor in MONITORS.items():
        assert (not PROBABILITIES.why_not(monitor)) == (monitor.access is not Access.WHITE), name
        black = monitor.access is Access.BLACK
        assert (not TEXT.why_not(monitor)) == black, name
    assert TEXT.why_not(MONITORS["average entropy"]) == "the endpoint shows no log-probabilities"
    assert "another token" in TOP5.why_not(MONITORS["perturbation VR, entropy jump"])
    assert TEXT.why_not(MONITORS["perturbation VR, entropy jump"]).count("; ") == 1


@given(st.integers(0, 8), st.integers(1, 7), st.integers(0, 99))
def test_masks_only_take_away(n: int, k: int, seed: int) -> None:
    whole = seen(n, k, seed)
    assert mask(whole, STATES).trace.hidden.keys() == {1}
    for less, more in pairwise(LEVELS):
        once, through = mask(whole, less), mask(mask(whole, more), less)
        for one in (once, through):
            assert one.trace.text == whole.trace.text
            assert one.trace.ends.tolist() == whole.trace.ends.tolist()
            assert not one.trace.hidden
        for name in ("ids", "logp", "entropy", "top_ids", "top_logp", "first_ids", "first_logp"):
            a, b = getattr(once.trace, name), getattr(through.trace, name)
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name
        assert mask(once, less).replies.keys() == whole.replies.keys()


def test_five_log_probabilities_are_made_to_sum_to_one() -> None:
    whole = seen(6, 8)
    found = mask(whole, TOP5).trace
    expected = [shannon(np.exp(row[:5].astype(float))) for row in whole.trace.top_logp]
    assert np.allclose(found.entropy, expected, atol=1e-6)
    assert not np.allclose(found.entropy, whole.trace.entropy, atol=0.05)
    assert np.array_equal(found.logp, whole.trace.logp)
    assert found.first_ids.tolist() == whole.trace.first_ids[:5].tolist()
    assert len(whole.trace.first_ids) == 50


def test_entropy_at_five_is_the_monitor_of_five() -> None:
    one = mask(seen(), TOP5)
    for kind in ("average", "maximum"):
        mine, other = MONITORS[f"{kind} entropy"], MONITORS[f"{kind} entropy, top 5"]
        assert np.allclose(mine([one])[0], other([one])[0], atol=1e-6)


def test_text_holds_no_number_and_replies_are_words() -> None:
    found = mask(seen(), TEXT)
    assert np.isnan(found.trace.logp).all()
    assert np.isnan(found.trace.entropy).all()
    assert np.isnan(found.trace.top_logp).all()
    assert not len(found.trace.first_ids)
    assert found.branches == {}
    assert found.replies["harmful"].tolist() == [[6, 1, 1]]
    assert MONITORS["self-examination"]([found])[0][-1] == 1
    assert mask(seen(), TOP5).replies["harmful"][0, 1] == 0.7


def test_replies_stored_without_their_words_are_unknown() -> None:
    old = Seen(seen().trace, replies={"harmful": np.array([[6, 0.7]])})
    scores = MONITORS["self-examination"]([mask(old, TEXT)])[0]
    assert np.isnan(scores).all()


@pytest.mark.parametrize("level", LEVELS, ids=lambda x: x.name)
def test_monitors_that_run_find_what_they_need(level) -> None:
    """Those that learn nothing and embed nothing give a finite score at the answer's end."""
    masked = mask(seen(), level)
    for name, monitor in MONITORS.items():
        plain = not monitor.trained and "meaning" not in name and "embedding" not in name
        if plain and "guard" not in name and not level.why_not(monitor) and "pert" not in name:
            scores = monitor([masked])[0]
            assert len(scores) == 6, name
            assert np.isfinite(scores[-1]), name
