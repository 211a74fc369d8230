"""Hybrids against their best member: at the same cost, on dangers that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.online.made_studies import made_study
from trustllm_repro.online.studies import matched as module
from trustllm_repro.online.studies.benchmark import Tried
from trustllm_repro.online.studies.matched import FIGURES, _gain_at, _two_sided, hybrids, matched
from trustllm_repro.online.studies.splits import split

N = 400
UNSAFE = np.arange(N) % 2 == 0
GROUPS = [str(i) for i in range(N)]
PARTS = split(GROUPS, 0)
ONE = np.ones((1, N))


def tried(name: str, danger: np.ndarray, reason: str = "") -> Tried:
    return Tried(
        name, 0, PARTS, [danger[[i]] for i in PARTS.calibration],
        [danger[[i]] for i in PARTS.test], reason,
    )  # fmt: skip


def noisy(seed: int, shift: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=N) + shift * UNSAFE


def compare(hybrid: np.ndarray, *members: np.ndarray):
    some = [tried(f"m{i}", d) for i, d in enumerate(members)]
    return matched(tried("h", hybrid), some, UNSAFE, [GROUPS[i] for i in PARTS.test])


def test_a_better_hybrid_gains_and_the_best_member_is_taken() -> None:
    found = compare(noisy(0, 4), noisy(1, 0.2), noisy(2, 1.2))
    assert found.member == "m1"
    assert found.figures["gain"] > 0.1
    assert found.figures["gain_low"] > 0
    assert found.figures["p"] < 0.01
    assert found.figures["AUROC p"] < 0.01
    safe = float(np.mean(~UNSAFE[PARTS.test]))
    assert found.figures["AC"] == pytest.approx(0.05 * safe)


def test_a_hybrid_that_is_its_member_gains_nothing() -> None:
    danger = noisy(1, 1)
    found = compare(danger, danger).figures
    assert (found["gain"], found["p"], found["AUROC gain"], found["AUROC p"]) == (0, 1, 0, 1)


def test_without_scores_or_with_one_kind_there_is_a_reason() -> None:
    members = [tried("m", noisy(0, 1))]
    groups = [GROUPS[i] for i in PARTS.test]
    broken = matched(tried("h", noisy(0, 1), "too few"), members, UNSAFE, groups)
    assert broken.reason == "too few"
    safe = matched(tried("h", noisy(0, 1)), members, np.zeros(N, bool), groups)
    assert "safe" in safe.reason
    assert not safe.figures


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=40), st.floats(0.01, 0.99))
def test_gain_at_a_cost_is_the_roc_of_scikit_learn(values: list[float], cost: float) -> None:
    from sklearn.metrics import roc_curve

    danger = np.array(values)
    unsafe = np.arange(len(danger)) % 2 == 0
    fpr, tpr, _ = roc_curve(unsafe, danger, drop_intermediate=False)
    expected = np.interp(cost + 1e-12, fpr, tpr) * unsafe.mean()
    found = _gain_at(cost, danger, unsafe, np.ones((1, len(danger))))
    assert found[0] == pytest.approx(expected, abs=1e-6)


def test_drawing_answers_is_weighing_them() -> None:
    danger, times = noisy(3, 1), np.random.default_rng(0).integers(0, 3, N)
    drawn = np.repeat(np.arange(N), times)
    weighed = _gain_at(0.1, danger, UNSAFE, times[None].astype(float))
    alone = _gain_at(0.1, danger[drawn], UNSAFE[drawn], np.ones((1, len(drawn))))
    assert weighed[0] == pytest.approx(alone[0])


def test_an_answer_without_danger_is_alarmed_last() -> None:
    danger = np.where(UNSAFE, np.nan, noisy(0, 0))
    assert _gain_at(0.5, danger, UNSAFE, ONE)[0] == 0
    assert _gain_at(1.0, danger, UNSAFE, ONE)[0] == pytest.approx(0.5)


def test_p_is_never_nought() -> None:
    assert _two_sided(np.ones(99)) == pytest.approx(0.02)
    assert _two_sided(np.zeros(99)) == 1
    assert set(FIGURES) == set(compare(noisy(0, 1), noisy(1, 1)).figures)


def test_a_line_a_hybrid_with_q_over_all(monkeypatch) -> None:
    monkeypatch.setattr(module, "MEMBERS", {"grey box": ("poor", "good")})
    found = {x["hybrid"]: x for x in hybrids(made_study())}
    assert set(found) == {"OR: grey box", "mean rank: grey box"}
    for line in found.values():
        assert line["member"] == "good"
        assert line["gain"] == pytest.approx(line["SG"] - line["SG, member"])
        assert line["q"] >= line["p"]
        assert line["reason"] == ""


def test_seeds_without_a_value_are_counted(monkeypatch) -> None:
    monkeypatch.setattr(module, "MEMBERS", {"grey box": ("poor", "good")})
    study = made_study()
    first = study.hybrids["OR: grey box"]
    broken = replace(first[0], reason="too few", calibration=[], test=[])
    for seeds, says in (([broken, *first[1:]], "1 of 3 seeds"), ([broken] * 3, "too few")):
        (line,) = hybrids(replace(study, hybrids={"OR: grey box": seeds}))
        assert says in line["reason"]
        assert np.isnan(line["gain"]) == (says == "too few")
