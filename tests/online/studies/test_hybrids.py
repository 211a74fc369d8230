"""Hybrids: votes as order statistics, identities, and what cannot be combined."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.online.made import trace
from trustllm_repro.online.monitors.base import Need, Seen, TooLittle, all_monitors
from trustllm_repro.online.studies.benchmark import Tried, figures
from trustllm_repro.online.studies.hybrids import (
    MEMBERS,
    RULES,
    Taught,
    all_hybrids,
    combine,
    hybrid_monitors,
)
from trustllm_repro.online.studies.operate import peak
from trustllm_repro.online.studies.scores import Alarms, auroc
from trustllm_repro.online.studies.splits import split

N = 300
UNSAFE = np.arange(N) % 2 == 1
PARTS = split([str(i) for i in range(N)], 0)


def tried(name: str, strength: float, seed: int, tokens: int = 4) -> Tried:
    draw = np.random.default_rng(seed)
    danger = [draw.normal(size=tokens) + strength * u for u in UNSAFE]
    chosen = [[danger[i] for i in at] for at in (PARTS.calibration, PARTS.test)]
    return Tried(name, 0, PARTS, *chosen, "", 1e-6)


PAIR = [tried("a", 1.0, 1), tried("b", 1.0, 2), tried("c", 1.0, 3)]


def fused(rule: str, ranks: np.ndarray) -> np.ndarray:
    """By a rule that has nothing to learn."""
    return RULES[rule](np.zeros((len(ranks), 0)), np.zeros(0, bool))(ranks)


@given(arrays(float, (3, 5), elements=st.floats(0, 1)), st.floats(0, 1))
def test_votes_with_one_threshold_are_order_statistics(ranks, threshold) -> None:
    votes = ranks >= threshold
    for name, want in (
        ("OR", votes.any(0)),
        ("AND", votes.all(0)),
        ("majority", votes.sum(0) >= 2),
    ):
        assert ((fused(name, ranks) >= threshold) == want).all()


@pytest.mark.parametrize("rule", sorted(RULES))
def test_independent_signals_add_up(rule: str) -> None:
    made = combine(rule, RULES[rule], PAIR, UNSAFE)
    labels = UNSAFE[PARTS.test]
    single = max(auroc(labels, peak(m.test)).value for m in PAIR)
    value = auroc(labels, peak(made.test)).value
    assert value > (0.5 if rule in ("OR", "AND", "cascade") else single)
    assert [len(s) for s in made.test] == [4] * len(PARTS.test)
    assert figures(made, UNSAFE)["SG, balanced"].known


def test_thresholds_are_set_on_answers_the_rule_did_not_learn_from() -> None:
    made = combine("s", RULES["stacking"], PAIR, UNSAFE)
    taught = set(PARTS.calibration[np.arange(len(PARTS.calibration)) % 2 == 0].tolist())
    assert not taught & set(made.split.calibration.tolist())
    assert len(made.calibration) == len(made.split.calibration)


def test_or_gains_and_and_saves_at_a_common_threshold() -> None:
    labels = UNSAFE[PARTS.test]
    counts = {
        name: Alarms.of(peak(combine(name, RULES[name], PAIR, UNSAFE).test) >= 0.8, labels)
        for name in ("OR", "majority", "AND")
    }
    assert counts["OR"].tp >= counts["majority"].tp >= counts["AND"].tp
    assert counts["OR"].fp >= counts["majority"].fp >= counts["AND"].fp


def test_a_member_without_scores_leaves_no_hybrid_and_says_why() -> None:
    lacking = Tried("x", 0, PARTS, reason="no unsafe answers")
    made = combine("OR", RULES["OR"], [PAIR[0], lacking], UNSAFE)
    assert made.reason == "no unsafe answers"
    assert math.isnan(figures(made, UNSAFE)["AUROC"].value)


def test_members_no_better_than_chance_have_no_weight() -> None:
    with pytest.raises(TooLittle, match="chance"):
        RULES["weighted by confidence"](np.array([[0.9, 0.1]]), np.array([False, True]))


def test_unknown_scores_do_not_count() -> None:
    ranks = np.array([[np.nan, 0.4], [np.nan, np.nan]])
    for rule in ("OR", "AND", "majority", "mean rank"):
        value = fused(rule, ranks)
        assert np.isnan(value[0])
        assert value[1] == 0.4


def test_the_costly_member_of_a_cascade_decides_where_it_is_asked() -> None:
    a = np.array([[0.9, 0.2], [0.9, 0.2], [0.1, 0.99]])
    first, second = fused("cascade", a)
    assert first == pytest.approx(0.55)
    assert second == pytest.approx(0.1)  # not asked: its 0.99 is not seen


def test_members_are_monitors_and_all_hybrids_are_made() -> None:
    assert {m for some in MEMBERS.values() for m in some} <= set(all_monitors())
    names = MEMBERS["grey box"]
    found = all_hybrids({n: [tried(n, 1.0, k)] for k, n in enumerate(names)}, UNSAFE)
    assert set(found) == {f"{rule}: grey box" for rule in RULES}


@dataclass(frozen=True)
class Shown:
    """A monitor that shows the danger of each answer, by its prompt, and needs no fitting."""

    name: str
    danger: dict[str, np.ndarray]
    needs: frozenset[Need] = frozenset({Need.LOGP})
    trained: bool = False

    def __call__(self, seen):
        return [self.danger[s.prompt] for s in seen]


def shown(name: str, seed: int) -> Shown:
    draw = np.random.default_rng(seed)
    return Shown(name, {str(i): draw.normal(size=4) + u for i, u in enumerate(UNSAFE)})


SEEN = [Seen(trace(["x"] * 4), str(i)) for i in range(N)]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_as_a_monitor_it_says_what_the_table_says(rule: str) -> None:
    """Taught by the same answers, it gives the same dangers as in the benchmark."""
    names = MEMBERS["grey box"]
    members = {n: shown(n, k) for k, n in enumerate(names)}
    name = f"{rule}: grey box"
    hybrid = hybrid_monitors(members)[name]
    at = PARTS.calibration[::2]
    scores = [m([SEEN[i] for i in at]) for m in members.values()]
    taught = replace(hybrid, taught=Taught.by(RULES[rule], scores, UNSAFE[at]))
    table = combine(
        name, RULES[rule],
        [Tried(n, 0, PARTS, *([m.danger[str(i)] for i in part]
                              for part in (PARTS.calibration, PARTS.test)), "", 0.0)
         for n, m in members.items()], UNSAFE,
    )  # fmt: skip
    for one, two in zip(taught([SEEN[i] for i in PARTS.test]), table.test, strict=True):
        assert one == pytest.approx(two)


def test_a_fitted_hybrid_tells_kinds_apart_on_other_answers() -> None:
    members = {n: shown(n, k) for k, n in enumerate(MEMBERS["grey box"])}
    hybrid = hybrid_monitors(members)["mean rank: grey box"]
    with pytest.raises(ValueError, match="not fitted"):
        hybrid(SEEN)
    fitted = hybrid.fit([SEEN[i] for i in PARTS.train], UNSAFE[PARTS.train])
    danger = peak(fitted([SEEN[i] for i in PARTS.test]))
    alone = max(
        auroc(UNSAFE[PARTS.test], peak(m([SEEN[i] for i in PARTS.test]))).value
        for m in members.values()
    )
    assert auroc(UNSAFE[PARTS.test], danger).value > alone
    assert fitted.needs == {Need.LOGP}


def test_only_members_that_are_there_are_put_together() -> None:
    assert not hybrid_monitors({"average entropy": shown("average entropy", 0)})
