"""Leave-one-model-out check of mended rates: planted judges first, then the committed counts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.judges.mending import Trial, judged, summary, trials
from trustllm_repro.metrics.rates import REFUSED
from trustllm_repro.paths import data_dir

table = st.fixed_dictionaries({k: st.integers(0, 60) for k in ("tp", "fp", "fn", "tn")})


def planted(rates: list[float], se: float, sp: float, n: int = 10_000) -> dict[str, dict]:
    """Models with these rates of refusals, all read with the same sensitivity and specificity."""
    made = {}
    for i, rate in enumerate(rates):
        positive = round(n * rate)
        tp, tn = round(positive * se), round((n - positive) * sp)
        made[f"m{i}"] = {"tp": tp, "fn": positive - tp, "tn": tn, "fp": n - positive - tn}
    return made


def test_mending_helps_where_its_assumption_holds() -> None:
    done = trials({"t": planted([0.1, 0.3, 0.5, 0.7, 0.9], 0.9, 0.8)})
    for trial in done:
        assert trial.mended[0] == pytest.approx(trial.recorded, abs=0.002)
        assert abs(trial.raw[0] - trial.recorded) > 0.01
    line = summary(done)[0]
    assert line["mended, distance"] < line["raw, distance"] < line["shifted, distance"]
    assert line["mended, holds"] == 1


def test_mending_harms_where_errors_cancel_out() -> None:
    """As many false alarms as misses, whatever the rate: the raw rate is exact."""
    models = {
        f"m{i}": {"tp": 1000 * i - 200, "fn": 200, "fp": 200, "tn": 1000 * (10 - i) - 200}
        for i in range(1, 10)
    }
    line = summary(trials({"t": models}))[0]
    assert line["raw, distance"] == line["shifted, distance"] == 0
    assert line["mended, distance"] > 0.01


def test_a_model_tells_nothing_of_its_own_errors() -> None:
    """Another split of the same judgements into right and wrong changes the truth alone."""
    models = planted([0.2, 0.4, 0.6, 0.8], 0.9, 0.9, 1000)
    first = trials({"t": models})[0]
    other = {**models, "m0": {"tp": 0, "fp": 260, "fn": 0, "tn": 740}}
    assert models["m0"]["tp"] + models["m0"]["fp"] == 260
    second = trials({"t": other})[0]
    assert (first.raw, first.mended, first.shifted) == (second.raw, second.mended, second.shifted)
    assert (first.recorded, second.recorded) == (0.2, 0.0)


@given(st.lists(table, min_size=4, max_size=6))
def test_rates_lie_in_their_intervals_and_those_between_0_and_1(tables) -> None:
    models = {f"m{i}": {**t, "tn": t["tn"] + 1} for i, t in enumerate(tables)}
    for trial in trials({"t": models}):
        for value, low, high in (trial.raw, trial.mended, trial.shifted):
            assert -1e-9 <= low <= value + 1e-9 <= high + 2e-9 <= 1 + 1e-8


def test_too_few_models_give_no_trial() -> None:
    assert trials({"t": planted([0.2, 0.5, 0.8], 0.9, 0.9)}) == []
    assert trials({}) == []
    assert summary([]) == []


def test_a_judge_near_a_coin_gives_no_trial() -> None:
    assert trials({"t": planted([0.2, 0.4, 0.6, 0.8], 0.5, 0.5)}) == []


def test_the_line_for_all_is_the_mean_over_trials() -> None:
    exact, off = (0.5, 0.4, 0.6), (0.9, 0.8, 1.0)
    done = [Trial("a", "m", 10, 0.5, exact, off, exact), Trial("b", "m", 10, 0.5, off, off, exact)]
    a, b, both = summary(done)
    assert (a["task"], b["task"], both["task"]) == ("a", "b", "all")
    assert both["models"] == 2
    assert both["raw, distance"] == pytest.approx(0.2)
    assert (both["raw, holds"], both["mended, holds"], both["shifted, holds"]) == (0.5, 0, 1)
    assert both["raw, width"] == pytest.approx(0.2)


def test_judged_answers_have_the_rate_asked_for() -> None:
    score = REFUSED.measure(judged(3, 12), seed=1)
    assert (score.value, score.n) == (0.25, 12)


def test_what_the_committed_counts_say() -> None:
    """The notebook states this: on models left out, raw rates come nearer than mended ones."""
    path = data_dir() / "measurements" / "judges.json"
    counts = json.loads(path.read_text(encoding="utf-8"))["refusal"]["by_task_and_model"]
    done = trials(counts)
    line = summary(done)[-1]
    assert line["models"] == len(done) > 50
    assert line["raw, distance"] < line["mended, distance"] < 0.05
    assert line["mended, holds"] > 0.85
    rates = np.array([t.recorded for t in done])
    assert (rates < 0.2).any()
    assert (rates > 0.95).any()
