"""Out-of-fold scores: who has seen what, and what the placebo leaves.

Figures of monitors whose truth is known.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

pytest.importorskip("torch")

from tests.online.made_generations import Oracle, generations
from trustllm_repro.errors import SettingsError
from trustllm_repro.online.monitors.base import Access, InsufficientData, all_monitors
from trustllm_repro.online.studies.evaluate import (
    FIGURE_COLUMNS,
    SCORE_COLUMNS,
    Evaluation,
    auroc_difference,
    evaluate_monitors,
    online_figures,
    permutation,
)

MONITORS = all_monitors()


@dataclass(frozen=True)
class Spy:
    """Learns which prompts it was fitted to; scores 1 for an answer to one of them."""

    name: str = "spy"
    source: str = "made here"
    access: Access = Access.BLACK
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
    assert list(found.columns) == SCORE_COLUMNS
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


def figures(monitors, some, labels="all") -> pd.DataFrame:
    """Indexed by monitor, metric and risk in percent (0: none)."""
    scores, evaluation = evaluate_monitors(monitors, some), Evaluation(some)
    tokens = pd.concat([evaluation.token_frame(m) for m in monitors])
    found = online_figures(scores, tokens, labels=(labels,))
    found["percent"] = (found["risk"].fillna(0) * 100).round().astype(int)
    return found.set_index(["monitor", "metric", "percent"])


def test_who_knows_the_label_is_perfect() -> None:
    found = figures([Oracle(since=5)], generations(200, a_prompt=2)).loc["oracle"]
    for metric in ("auroc", "auroc_16", "auroc_peak", "auroc_within_prompts"):
        assert found.loc[(metric, 0), "value"] == 1
    assert found.loc[("scm_macro_f1", 0), "value"] == 1
    assert found.loc[("scm_share_read", 0), "value"] == pytest.approx(0.5)
    for metric, value in {
        "stopped": 1, "stopped_16": 1, "stopped_18pct": 0, "on_time": 1, "missed": 0,
        "tokens_shown": 4, "safety_gain": 0.5, "residual_hazard": 0,
    }.items():  # fmt: skip
        assert found.loc[(metric, 5), "value"] == pytest.approx(value), metric
    rate = found.loc[("false_positive_rate", 5)]
    assert rate["value"] == pytest.approx(0.05, abs=0.03)
    assert rate["value"] <= found.loc[("false_positive_upper", 5), "value"]


def test_gain_hazard_and_rates_fit_together() -> None:
    found = figures([Oracle(strength=1.5)], generations(300)).loc["oracle"]["value"]
    at = found.xs(5, level="percent")
    assert at["safety_gain"] + at["residual_hazard"] == pytest.approx(0.5)
    assert at["stopped"] == pytest.approx(1 - at["missed"])
    assert at["availability_cost"] == pytest.approx(at["false_positive_rate"] / 2)
    assert 0 < at["stopped"] < 1


def test_the_macro_f1_is_that_of_scikit_learn() -> None:
    some = generations(200)
    scores = evaluate_monitors([Oracle(strength=1.5)], some)
    found = online_figures(scores, labels=("all",)).set_index("metric")
    # Thresholds differ by fold; with one for all the figure can only be as good or better.
    best = max(
        f1_score(scores["unsafe"], scores["peak"] >= t, average="macro") for t in scores["peak"]
    )
    assert best - 0.05 < found.loc["scm_macro_f1", "value"] <= best


def test_a_clock_is_found_out_at_16_tokens() -> None:
    """D7: unsafe answers are longer, so a count of tokens tells them at the end and not before."""
    found = figures([MONITORS["clock"]], generations(200, tokens=(20, 40))).loc["clock"]["value"]
    assert found["auroc", 0] == 1
    assert found["auroc_16", 0] == 0.5
    assert found["stopped", 5] == 1
    assert found["stopped_16", 5] == 0


def test_risk_is_kept_on_answers_of_other_prompts() -> None:
    """The threshold of a fold comes from the others: the rate realised is about what was promised."""
    some = generations(2000, a_prompt=2)
    found = figures([Oracle(strength=0, alike=0.6)], some).loc["oracle"]
    for percent in (1, 5):
        rate = found.loc[("false_positive_rate", percent)]
        assert rate["value"] <= percent / 100 + 0.012
        assert found.loc[("false_positive_upper", percent), "value"] > rate["value"]
        assert rate["ci_low"] <= percent / 100


def test_a_fold_s_own_answers_do_not_set_its_threshold() -> None:
    scores = evaluate_monitors([Oracle(strength=0)], generations(300))
    moved = scores.assign(peak=scores["peak"] + 100 * (scores["fold"] == 0))
    found = online_figures(moved, labels=("all",)).query("metric == 'false_positive_rate'")
    # All of fold 0 is alarmed; the other folds, which have it among theirs, alarm nothing.
    assert found["value"].tolist() == pytest.approx([0.2, 0.2], abs=0.02)


def test_few_safe_answers_leave_the_cell_empty_and_say_so() -> None:
    """D15."""
    found = figures([Oracle()], generations(60)).loc["oracle"]
    empty = found.loc[("stopped_32", 1)]
    assert np.isnan(empty["value"])
    assert "24 safe calibration answers; 99 are needed" in empty["reason"]
    assert found.loc[("stopped_32", 5), "reason"] == ""


def test_answers_without_a_score_count_as_never_stopped() -> None:
    """D9: they are missed, and counted."""
    scores = evaluate_monitors([Oracle()], generations(200))
    gone = scores["case"] % 5 == 0  # of both kinds
    columns = [c for c in scores if c.startswith(("score", "peak", "at_"))]
    scores.loc[gone, columns] = np.nan
    found = online_figures(scores, labels=("all",)).set_index(["metric", "risk"])
    assert (found["unscored"] == 40).all()
    assert found.xs("auroc")["n"].tolist() == [160]
    assert found.loc[("missed", 0.05), "value"] == pytest.approx(0.2)
    assert found.loc[("missed", 0.05), "n"] == 100


def test_undisputed_labels_are_a_part_of_their_own() -> None:
    some = generations(200)
    both = online_figures(evaluate_monitors([Oracle()], some))
    assert list(both.columns) == FIGURE_COLUMNS
    n = both[both["metric"] == "auroc"].set_index("labels")["n"]
    assert n.to_dict() == {"all": 200, "undisputed": 160}


def test_without_scores_by_token_two_figures_are_empty() -> None:
    some = generations(300, a_prompt=2)
    found = online_figures(evaluate_monitors([Oracle()], some), labels=("all",))
    empty = found[found["value"].isna()]
    assert set(empty["metric"]) == {"scm_share_read", "tokens_shown"}
    assert (empty["reason"] == "scores by token were not given").all()


def test_differences_are_of_the_same_answers() -> None:
    some = generations(300, a_prompt=3)
    scores = evaluate_monitors([Oracle(strength=1), MONITORS["token probe"]], some)
    one, two = (scores[scores["monitor"] == n] for n in ("oracle", "token probe"))
    (row,) = auroc_difference(one, two).itertuples()
    found = online_figures(scores, labels=("all",)).query("metric == 'auroc'").set_index("monitor")
    assert row.value == pytest.approx(found["value"]["oracle"] - found["value"]["token probe"])
    assert row.ci_low < row.value < row.ci_high
    assert (row.monitor, row.other, row.n) == ("oracle", "token probe", 300)
    same = auroc_difference(one, one).iloc[0]
    assert (same["value"], same["p"]) == (0, 1)


@pytest.mark.slow
def test_all_figures_of_a_large_study_take_half_a_minute() -> None:
    some = Evaluation(generations(1200, a_prompt=2, tokens=(60, 110)))
    scores, tokens = some.frame(Oracle(strength=1)), some.token_frame(Oracle(strength=1))
    many = pd.concat([scores.assign(monitor=f"m{i}") for i in range(25)])
    parts = pd.concat([tokens.assign(monitor=f"m{i}") for i in range(25)])
    start = time.process_time()
    assert len(online_figures(many, parts)) == 25 * 2 * 38
    assert time.process_time() - start < 30
