"""Correcting rates for the judge's errors, tried on models left out: helps only under its assumption."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.judges.correction import left_out, summary, write_correction
from trustllm_repro.judges.registry import measured
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


def values(rates: pd.DataFrame) -> pd.DataFrame:
    """Columns recorded, raw and judge-corrected, a row a task and model."""
    index = ["task", "model", "recorded"]
    return rates.pivot(index=index, columns="estimate", values="value").reset_index()


def test_correcting_helps_where_its_assumption_holds() -> None:
    rates = left_out({"t": planted([0.1, 0.3, 0.5, 0.7, 0.9], 0.9, 0.8)})
    found = values(rates)
    assert found["judge-corrected"].to_numpy() == pytest.approx(found["recorded"], abs=0.002)
    assert ((found["raw"] - found["recorded"]).abs() > 0.01).all()
    line = summary(rates).iloc[0]
    assert line["judge-corrected, distance"] < line["raw, distance"]
    assert line["judge-corrected, holds"] == 1


def test_correcting_harms_where_errors_cancel_out() -> None:
    """As many false alarms as misses, whatever the rate: the raw rate is exact."""
    models = {
        f"m{i}": {"tp": 1000 * i - 200, "fn": 200, "fp": 200, "tn": 1000 * (10 - i) - 200}
        for i in range(1, 10)
    }
    line = summary(left_out({"t": models})).iloc[0]
    assert line["raw, distance"] == 0
    assert line["judge-corrected, distance"] > 0.01


def test_a_model_tells_nothing_of_its_own_errors() -> None:
    """Another split of the same judgements into right and wrong changes the truth alone."""
    models = planted([0.2, 0.4, 0.6, 0.8], 0.9, 0.9, 1000)
    first = left_out({"t": models}).query("model == 'm0'")
    other = {**models, "m0": {"tp": 0, "fp": 260, "fn": 0, "tn": 740}}
    assert models["m0"]["tp"] + models["m0"]["fp"] == 260
    second = left_out({"t": other}).query("model == 'm0'")
    pd.testing.assert_frame_equal(first.drop(columns="recorded"), second.drop(columns="recorded"))
    assert set(first["recorded"]) == {0.2}
    assert set(second["recorded"]) == {0.0}


@given(st.lists(table, min_size=4, max_size=6))
def test_rates_lie_in_their_intervals_and_those_between_0_and_1(tables) -> None:
    models = {f"m{i}": {**t, "tn": t["tn"] + 1} for i, t in enumerate(tables)}
    for one in left_out({"t": models}).itertuples():
        assert -1e-9 <= one.ci_low <= one.value + 1e-9 <= one.ci_high + 2e-9 <= 1 + 1e-8


def test_too_few_models_give_no_rates() -> None:
    assert left_out({"t": planted([0.2, 0.5, 0.8], 0.9, 0.9)}).empty
    assert summary(left_out({})).empty


def test_a_judge_near_a_coin_gives_no_rates() -> None:
    assert left_out({"t": planted([0.2, 0.4, 0.6, 0.8], 0.5, 0.5)}).empty


def test_the_line_for_all_is_the_mean_over_models() -> None:
    exact, off = (0.5, 0.4, 0.6), (0.9, 0.8, 1.0)
    names = ("raw", "judge-corrected")
    rows = [("a", "m", 10, 0.5, n, *v) for n, v in zip(names, (exact, off), strict=True)]
    rows += [("b", "m", 10, 0.5, n, *v) for n, v in zip(names, (off, off), strict=True)]
    found = summary(pd.DataFrame(rows, columns=left_out({}).columns))
    both = found.iloc[-1]
    assert found["task"].tolist() == ["a", "b", "all"]
    assert both["models"] == 2
    assert both["raw, distance"] == pytest.approx(0.2)
    assert both[[f"{n}, holds" for n in names]].tolist() == [0.5, 0]
    assert both["raw, width"] == pytest.approx(0.2)


def test_the_committed_table_is_that_of_the_committed_counts(tmp_path: Path) -> None:
    committed = data_dir() / "measurements"
    shutil.copy(committed / "judges.json", tmp_path)
    write_correction(tmp_path)
    made, stored = (
        pd.read_json(folder / "judge_correction.json") for folder in (tmp_path, committed)
    )
    pd.testing.assert_frame_equal(made, stored)  # if not: python -m tools.judges.correction
    assert stored.at["models", "all"] == stored.loc["models"].drop("all").sum()


def test_what_the_committed_counts_say() -> None:
    """The notebook states this: on models left out, raw rates come nearer than corrected ones."""
    rates = left_out(measured()["refusal"]["by_task_and_model"])
    line = summary(rates).iloc[-1]
    assert line["models"] == rates["estimate"].eq("raw").sum() > 50
    assert line["raw, distance"] < line["judge-corrected, distance"] < 0.05
    assert line["judge-corrected, holds"] > 0.85
    assert rates["recorded"].min() < 0.2
    assert rates["recorded"].max() > 0.95
