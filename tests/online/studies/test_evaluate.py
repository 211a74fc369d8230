"""Out-of-fold scores: who has seen what, and what the placebo leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")

from tests.online.made_generations import Oracle, generations
from trustllm_repro.errors import SettingsError
from trustllm_repro.online.generations.levels import STATES
from trustllm_repro.online.monitors.base import InsufficientData, all_monitors
from trustllm_repro.online.studies.estimates import online_figures
from trustllm_repro.online.studies.evaluate import (
    COLUMNS,
    Evaluation,
    evaluate_monitors,
    evaluate_task,
    permutation,
)

MONITORS = all_monitors()


@dataclass(frozen=True)
class Spy:
    """Learns which prompts it was fitted to; scores 1 for an answer to one of them."""

    name: str = "spy"
    source: str = "made here"
    access: str = "black box"
    needs: frozenset = frozenset()
    trained: bool = True
    known: frozenset = frozenset()

    def fit(self, generations, unsafe):
        if len(generations) < 3:
            raise InsufficientData("too few")
        return replace(self, known=frozenset(g.group for g in generations))

    def __call__(self, generations):
        return [np.full(len(g.trace), float(g.group in self.known)) for g in generations]


def test_no_answer_is_scored_by_what_saw_its_prompt() -> None:
    """D8: neither a monitor nor the members of a hybrid."""
    some = generations(120, a_prompt=3)
    assert (evaluate_monitors([Spy()], some)["score"] == 0).all()
    hybrid = replace(MONITORS["prefix + token probe"], name="spies", members=(Spy(), Spy("other")))
    found = evaluate_monitors([hybrid], some)
    assert (found["score"] == found["score"].iloc[0]).all()


def test_a_prompt_lies_in_one_fold_and_both_kinds_in_all() -> None:
    found = evaluate_monitors([Oracle()], generations(120, a_prompt=3))
    assert (found.groupby("group")["fold"].nunique() == 1).all()
    assert (found.groupby("fold")["unsafe"].mean().between(0.4, 0.6)).all()
    assert set(found["fold"]) == set(range(5))


def test_the_frame_has_its_columns_and_a_row_an_answer_and_monitor() -> None:
    some = generations(30, model="a") + generations(30, model="b")
    some[0] = replace(some[0], unsafe=None)  # without a label
    found = evaluate_monitors([Oracle(), MONITORS["clock"]], some)
    assert list(found.columns) == COLUMNS["scores"]
    assert found.groupby(["model", "monitor"]).size().to_dict() == {
        ("a", "oracle"): 29, ("a", "clock"): 29, ("b", "oracle"): 30, ("b", "clock"): 30,
    }  # fmt: skip
    assert not found["group"].str.contains("prompt").any()  # a digest, no text


def test_scores_are_of_so_many_tokens() -> None:
    some = generations(30, tokens=(10, 40))
    found = evaluate_monitors([MONITORS["clock"]], some)
    safe, unsafe = found[~found["unsafe"]].iloc[0], found[found["unsafe"]].iloc[0]
    assert safe[["score", "at_16", "at_half", "peak_18pct"]].tolist() == [10, 10, 5, 2]
    assert unsafe[["score", "at_16", "at_64", "peak_32", "peak_25pct"]].tolist() == [
        40,
        16,
        40,
        32,
        10,
    ]
    tokens = Evaluation(some).token_frame(MONITORS["clock"])
    assert (tokens["token"] == tokens["score"]).all()
    assert len(tokens) == found["tokens"].sum()
    assert tokens["score"].dtype == np.float32


def test_what_cannot_be_fitted_says_why() -> None:
    safe = [replace(g, unsafe=False) for g in generations(40)]
    found = evaluate_monitors([MONITORS["token probe"], MONITORS["model identity"]], safe)
    assert found["score"].isna().all()
    assert (found["reason"] != "").all()
    found = online_figures(found)
    assert found["value"].isna().all()
    assert (found["reason"] != "").all()


def test_the_placebo_permutes_labels_by_prompt() -> None:
    group = np.repeat(np.arange(40), 3)
    order = permutation(group, 1)
    assert sorted(order.tolist()) == list(range(120))
    # The labels of a prompt stay together, in another order.
    assert (np.ptp(order.reshape(40, 3) // 3, axis=1) == 0).all()
    assert (order != np.arange(120)).mean() > 0.9
    assert len(set((order % 3)[::3].tolist())) == 3


def test_permuted_labels_teach_nothing() -> None:
    """The placebo goes through the whole pipeline. Intervals are those of monitors once fitted, so
    over permutations, in which they are fitted anew, a few more than 5 % miss one half."""
    some = generations(300, a_prompt=2, shift=2)
    probe = [MONITORS["token probe"]]
    real = online_figures(evaluate_monitors(probe, some), labels=("all",)).set_index("metric")
    assert real.loc["auroc", "ci_low"] > 0.8
    placebo = pd.concat(
        online_figures(evaluate_monitors(probe, some, permuted=True, seed=k), labels=("all",))
        for k in range(12)
    ).query("metric == 'auroc'")
    assert placebo["permuted"].all()
    assert placebo["value"].mean() == pytest.approx(0.5, abs=0.03)
    assert ((placebo["ci_low"] < 0.5) & (placebo["ci_high"] > 0.5)).mean() >= 0.75


def test_a_level_hides_what_it_does_not_show() -> None:
    some = generations(60)
    names = ("token probe", "average entropy", "average entropy, top 5", "clock")
    found = evaluate_monitors([MONITORS[n] for n in names], some, level="5 log-probabilities")
    reasons = found.groupby("monitor")["reason"].first()
    assert reasons["token probe"] == "no hidden states are shown"
    assert (reasons.drop("token probe") == "").all()
    by = found.pivot_table(index="case", columns="monitor", values="score")
    assert np.allclose(by["average entropy"], by["average entropy, top 5"])


def test_two_monitors_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="'oracle'"):
        evaluate_monitors([Oracle(), Oracle(strength=1)], generations(20))


def test_the_same_twice() -> None:
    some = generations(60)
    one, two = (evaluate_monitors([MONITORS["token probe"]], some) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_side_by_side_and_one_by_one_are_the_same() -> None:
    some = generations(60)
    names = ("prefix + token probe", "token probe", "words", "clock")
    monitors = [MONITORS[n] for n in names]
    scores, tokens = evaluate_task(some, monitors, STATES)
    alone = [evaluate_monitors(monitors, some, permuted=p) for p in (False, True)]
    pd.testing.assert_frame_equal(scores, pd.concat(alone, ignore_index=True))
    assert tokens.groupby("monitor", sort=False).size().tolist() == [600] * 4
