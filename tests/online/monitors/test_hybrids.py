"""Monitors put together: on one scale, and no more than their members know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("torch")

from tests.online.made import states, trace
from tests.online.made_generations import generations
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import Access, all_monitors
from trustllm_repro.online.monitors.hybrids import MONITORS, Hybrid
from trustllm_repro.online.studies import claims
from trustllm_repro.online.studies.evaluate import evaluate_monitors

UNSAFE = np.arange(40) % 2 == 1
ALL = all_monitors()


def some() -> list[Generation]:
    draw = np.random.default_rng(5)
    return [
        replace(g, trace=replace(g.trace, entropy=draw.random(6) + u))
        for g, u in zip(states(0, 40, 6), UNSAFE, strict=True)
    ]


def test_z_scores_are_averaged() -> None:
    one, two = ALL["average entropy"], ALL["clock"]
    found = Hybrid(name="h", members=(one, two)).fit(some(), UNSAFE)(some())
    parts = [np.array(m(some())) for m in (one, two)]
    wanted = np.mean([(p - p.mean()) / p.std() for p in parts], axis=0)
    assert np.array(found) == pytest.approx(wanted)


def test_ranks_are_shares_of_training_tokens_that_score_less() -> None:
    one, two = ALL["average entropy"], ALL["clock"]
    found = Hybrid(name="h", members=(one, two), by_rank=True).fit(some(), UNSAFE)(some())
    parts = [np.array(m(some())) for m in (one, two)]
    wanted = np.mean([(stats.rankdata(p).reshape(p.shape) - 0.5) / p.size for p in parts], axis=0)
    assert np.array(found) == pytest.approx(wanted)


def test_no_score_of_a_member_is_none_of_the_hybrid() -> None:
    fitted = Hybrid(name="h", members=(ALL["average entropy"], ALL["clock"]), by_rank=True).fit(
        some(), UNSAFE
    )
    entropy = [0.1, np.nan, 0.2]
    assert np.isnan(fitted([Generation(trace(["x"] * 3, entropy=entropy))])[0]).tolist() == [
        False, True, True,
    ]  # fmt: skip


def test_hybrids_are_those_named_before_any_number_was_seen() -> None:
    found = {m.name: tuple(x.name for x in m.members) for m in MONITORS}
    assert found.pop(claims.PROBES) == ("prefix probe", "token probe")
    assert found == claims.HYBRIDS
    assert {m.access for m in MONITORS} == {Access.WHITE}


def test_members_fitted_once_give_the_same_scores() -> None:
    answers = generations(60)
    whole = evaluate_monitors([ALL["prefix + token probe"]], answers)
    beside = evaluate_monitors([ALL["token probe"], ALL["prefix + token probe"]], answers)
    beside = beside[beside["monitor"] == "prefix + token probe"]
    assert np.allclose(whole["score"], beside["score"], atol=1e-5)
    alone = evaluate_monitors([ALL["token probe"]], answers)
    both = evaluate_monitors([ALL["prefix + token probe"], ALL["token probe"]], answers)
    assert np.allclose(alone["score"], both[both["monitor"] == "token probe"]["score"], atol=1e-5)
