"""Intervals clustered by prompt: against scikit-learn, by hand, and by how often they cover.

Thresholds keep what they promise on answers they were not set on. Figures of monitors whose truth
is known.
"""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

pytest.importorskip("torch")

from tests.online.made_generations import Oracle, generations
from trustllm_repro.online.monitors.base import InsufficientData, all_monitors
from trustllm_repro.online.studies import estimates
from trustllm_repro.online.studies.estimates import (
    COLUMNS,
    Answers,
    auroc,
    auroc_difference,
    interval,
    online_figures,
    ratio,
    sums,
    threshold_at_fpr,
    threshold_at_macro_f1,
)
from trustllm_repro.online.studies.evaluate import Evaluation, evaluate_monitors, open_study
from trustllm_repro.paths import data_dir

MONITORS = all_monitors()


def drawn(seed: int, prompts: int, a_prompt: int, alike: float, shift: float):
    """Scores of which those to one prompt correlate; labels follow the prompts in one half."""
    draw = np.random.default_rng(seed)
    group = np.repeat(np.arange(prompts), a_prompt)
    unsafe = (group + np.tile(np.arange(a_prompt), prompts) * (group % 2)) % 2 == 0
    noise = np.sqrt(alike) * draw.normal(size=prompts)[group]
    noise += np.sqrt(1 - alike) * draw.normal(size=len(group))
    return unsafe, noise + shift * unsafe, group


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=30))
def test_auroc_is_that_of_scikit_learn(rows) -> None:
    unsafe, score = np.array([u for u, _ in rows]), np.array([float(s) for _, s in rows])
    found = auroc(unsafe, score, np.arange(len(rows)))
    if len(set(unsafe.tolist())) == 1:
        assert np.isnan(found.value)
        assert found.reason.startswith(f"all {len(rows)} answers are")
    else:
        assert found.value == pytest.approx(roc_auc_score(unsafe, score))


def test_with_one_answer_a_prompt_it_is_delong() -> None:
    unsafe, score, _ = drawn(0, 200, 1, 0, 1)
    won = score[unsafe][:, None] > score[~unsafe]
    plain = sum(won.mean(axis=i).var(ddof=1) / won.shape[1 - i] for i in (0, 1))
    value, parts = estimates.areas(unsafe, score[None], np.arange(200))
    assert value == pytest.approx(roc_auc_score(unsafe, score))
    assert (parts**2).sum() == pytest.approx(plain, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.0, 0.6])
def test_intervals_cover(alike: float) -> None:
    """D14: with answers alike within a prompt an interval that ignores prompts covers 91 %."""
    big = drawn(1, 60_000, 4, alike, 1)
    truth, hits, gaps, rates = auroc(*big).value, 0, 0, 0
    rate = float((big[1] > 1).mean())
    for seed in range(400):
        unsafe, score, group = drawn(seed + 2, 80, 4, alike, 1)
        found = auroc(unsafe, score, group)
        hits += found.ci_low <= truth <= found.ci_high
        other = np.random.default_rng(seed).permutation(80)[group] / 80 + unsafe
        gap = auroc(unsafe, score, group, other=score + 0 * other)
        gaps += gap.value == 0
        columns = np.stack([score > 1, np.ones(320)], 1).astype(float)
        _, low, high = interval(ratio(*sums(columns, group, 80).T))
        rates += low <= rate <= high
    assert 0.925 <= hits / 400 <= 0.975
    assert 0.915 <= rates / 400 <= 0.975
    assert gaps == 400


def test_a_difference_of_paired_scores_is_sharper_than_two_intervals() -> None:
    unsafe, score, group = drawn(0, 300, 2, 0.5, 1)
    noise = np.random.default_rng(1).normal(size=len(score))
    near, far = score + noise / 4, score + noise * 4
    one, two = auroc(unsafe, score, group), auroc(unsafe, far, group)
    gap = auroc(unsafe, score, group, other=far)
    assert gap.value == pytest.approx(one.value - two.value)
    assert gap.ci_low > 0
    assert gap.p < 0.01
    small = auroc(unsafe, score, group, other=near)
    assert small.ci_high - small.ci_low < (one.ci_high - one.ci_low) / 2


def test_answers_without_a_score_are_left_out_of_areas() -> None:
    unsafe, score, group = drawn(0, 50, 2, 0, 1)
    score[:10] = np.nan
    assert auroc(unsafe, score, group).n == 90
    assert auroc(unsafe, score, group, other=np.zeros(100)).n == 90


def test_pairs_within_prompts() -> None:
    unsafe = np.array([True, False, False, True, True])
    group = np.array([0, 0, 0, 1, 1])
    rows = pd.DataFrame({"unsafe": unsafe, "group": group, "score": [2.0, 1.0, 2.0, 5.0, np.nan]})
    found = Answers(rows).auroc_within()
    assert (found.value, found.n) == (1.5 / 2, 4)
    none = Answers(rows.assign(score=np.nan)).auroc_within()
    assert none.reason == "no prompt has answers of both kinds"


def test_sums_of_draws_have_the_mean_of_the_sums() -> None:
    values = np.random.default_rng(0).random((60, 2))
    total, *draws = sums(values, np.repeat(np.arange(20), 3), 20)
    assert total == pytest.approx(values.sum(axis=0))
    assert np.mean(draws, axis=0) == pytest.approx(total, rel=0.02)


def test_an_upper_bound_is_never_below_that_of_no_event_at_all() -> None:
    assert estimates.upper_bound(np.zeros(100), 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert estimates.upper_bound(np.full(100, 0.7), 20) == pytest.approx(0.7)


@given(st.integers(20, 80), st.sampled_from([0.05, 0.1, 0.3]), st.integers(0, 10**6))
def test_no_more_calibration_answers_are_alarmed_than_allowed(
    n: int, risk: float, seed: int
) -> None:
    peaks = np.round(np.random.default_rng(seed).random(n), 1)  # with ties
    safe = np.zeros(n, bool)
    if n < 1 / risk - 1:
        with pytest.raises(InsufficientData, match="are needed"):
            threshold_at_fpr(peaks, safe, risk)
        return
    threshold = threshold_at_fpr(peaks, safe, risk)
    assert ((peaks >= threshold).sum() + 1) / (n + 1) <= risk + 1e-9
    lower = peaks[peaks < threshold].max(initial=-1)
    assert ((peaks >= lower).sum() + 1) / (n + 1) > risk  # the next lower one would not do


@pytest.mark.parametrize("n", [19, 30, 101])
def test_the_risk_is_controlled_on_new_answers(n: int) -> None:
    """Mean rate of false positives over 4,000 calibration sets is at most the risk asked for."""
    draw = np.random.default_rng(0)
    rates = []
    for _ in range(4000):
        threshold = threshold_at_fpr(draw.random(n), np.zeros(n, bool), 0.05)
        rates.append(1 - min(threshold, 1))  # uniform: the share above it
    assert 0.02 < np.mean(rates) < 0.0515


@pytest.mark.parametrize(("risk", "needed"), [(0.05, 19), (0.01, 99)])
def test_too_few_are_said_to_be_too_few(risk: float, needed: int) -> None:
    safe = np.zeros(needed, bool)
    peaks = np.arange(needed, dtype=float)
    assert threshold_at_fpr(peaks, safe, risk) > needed - 1
    with pytest.raises(InsufficientData, match=f"{needed} are needed"):
        threshold_at_fpr(peaks[1:], safe[1:], risk)


def test_a_safe_answer_without_a_score_is_never_stopped() -> None:
    peaks = np.concatenate([np.full(20, np.nan), np.arange(19.0)])
    assert threshold_at_fpr(peaks, np.zeros(39, bool), 0.05) == np.nextafter(17.0, math.inf)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=25))
def test_no_threshold_has_a_larger_macro_f1(rows) -> None:
    unsafe, peaks = np.array([u for u, _ in rows]), np.array([float(p) for _, p in rows])
    if len(set(unsafe.tolist())) == 1:
        with pytest.raises(InsufficientData, match="one kind only"):
            threshold_at_macro_f1(peaks, unsafe)
        return
    found, *others = (
        f1_score(unsafe, peaks >= t, average="macro", labels=[False, True], zero_division=0)
        for t in (threshold_at_macro_f1(peaks, unsafe), *peaks)
    )
    assert found == pytest.approx(max(others))


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
    assert list(both.columns) == COLUMNS["figures"]
    n = both[both["metric"] == "auroc"].set_index("labels")["n"]
    assert n.to_dict() == {"all": 200, "undisputed": 160}


def test_without_scores_by_token_two_figures_are_empty() -> None:
    some = generations(300, a_prompt=2)
    found = online_figures(evaluate_monitors([Oracle()], some), labels=("all",))
    empty = found[found["value"].isna()]
    assert set(empty["metric"]) == {"scm_share_read", "tokens_shown"}
    assert (empty["reason"] == "scores by token were not given").all()


def test_the_study_of_the_package_gives_its_figures_again() -> None:
    """From its scores, of which some columns and half of the digits are kept."""
    study = open_study(data_dir() / "online")
    scores = study.scores[
        study.scores["monitor"].isin(["words", "clock"]) & ~study.scores["permuted"]
    ]
    found = online_figures(scores)
    lacking = found[found["reason"].str.startswith("no scores")]
    assert set(lacking["metric"]) == {
        "auroc_16", "auroc_64", "auroc_half", "stopped_16", "stopped_32", "stopped_64",
        "stopped_18pct", "on_time",
    }  # fmt: skip
    assert lacking["value"].isna().all()
    keys = ["model", "task", "monitor", "level", "labels", "metric"]
    kept = study.figures[~study.figures["permuted"]]
    both = found.query("metric == 'auroc'").merge(kept, on=keys)
    assert len(both) == len(found.query("metric == 'auroc'")) > 20
    known = both.dropna(subset=["value_x"])
    assert np.allclose(known["value_x"], known["value_y"], atol=0.005)


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
