"""18_judges: tables and figure come from the stored measurements, and say what they should."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.test_card import write_live
from trustllm_repro.analysis import judges
from trustllm_repro.analysis.judges import left_out, summary
from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.judges import registry
from trustllm_repro.judges.registry import measured
from trustllm_repro.scoring.run import EvaluatedModel
from trustllm_repro.tasks import TASKS


@pytest.mark.parametrize(
    "by", ["overall", "by_model", "by_task", "by_kind_of_answer", "by_recorded_score"]
)
def test_every_group_has_its_figures(by: str) -> None:
    frame = judges.refusal_table(by)
    assert len(frame) == len(measured()["refusal"][by])
    assert frame["accuracy"].between(0, 1).all()
    assert frame["n"].gt(0).all()


def test_counts_of_a_task_add_up_and_give_its_figures() -> None:
    frame = judges.refusal_table("by_task").set_index("task")
    counts = measured()["refusal"]["by_task"]
    assert set(frame.index) == set(counts)
    for task, line in frame.iterrows():
        said = counts[task]["judge"]
        assert sum(said[k] for k in ("tp", "fp", "fn", "tn")) == line["n"]
        assert said["tp"] / (said["tp"] + said["fn"]) == pytest.approx(
            line["sensitivity"], abs=1e-3
        )


def test_counts_by_model_add_up_to_those_of_the_task() -> None:
    """These correct the rates; they must be the ones shown."""
    found = measured()["refusal"]
    for task, models in found["by_task_and_model"].items():
        for name in ("tp", "fp", "fn", "tn"):
            total = sum(one[name] for one in models.values())
            assert total == found["by_task"][task]["judge"][name]


def test_the_judge_beats_the_keyword_list_on_every_model_left_out() -> None:
    frame = judges.refusal_table("by_model")
    assert (frame["kappa"] > frame["kappa, keywords"]).all()


def test_the_kappas_compared_are_those_of_the_training() -> None:
    found = measured()["refusal"]
    compared = found["compared"]["all"]
    assert compared["all"]["n"] == found["recorded_answers"]
    assert compared["believed"]["n"] == found["training_answers"]
    assert compared["believed"]["after"] == found["overall"]["all"]["judge"]["kappa"]


def test_corrected_rates_are_shown_with_what_they_are_worth() -> None:
    frame = judges.summary(judges.left_out(measured()["refusal"]["by_task_and_model"])).set_index(
        "task"
    )
    assert frame.loc["all", "models"] == frame["models"].drop("all").sum()
    assert frame.filter(like="holds").stack().between(0, 1).all()


def test_errors_are_those_of_live_tasks_the_refusal_judge_labels() -> None:
    frame = judges.error_table()
    labelled = {t.title for t in TASKS.values() if t.live and t.judge == "refusal"}
    assert set(frame["task"]) == labelled
    assert frame.filter(like="spread").gt(0).all().all()


def test_raw_and_corrected_rates_of_a_live_model(tmp_path: Path) -> None:
    run = EvaluatedModel(write_live(tmp_path / "mine"))
    frame = judges.judge_corrected_table(run).set_index("column")
    line = frame.loc["Misuse"]
    assert line["judge-corrected, low"] <= line["judge-corrected"] <= line["judge-corrected, high"]
    assert math.isnan(line["unsure"])  # this run kept no counts
    (run.path / "answers.csv").write_text("task,answers,judge_unsure\nsafety/misuse,12,3\n")
    assert (
        judges.judge_corrected_table(EvaluatedModel(run.path))
        .set_index("column")
        .loc["Misuse", "unsure"]
        == 0.25
    )


def test_absent_and_altered_measurements_are_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(registry, "data_dir", lambda: tmp_path)
    with pytest.raises(SourceMissing, match=r"other\.json"):
        measured("other")
    (tmp_path / "measurements").mkdir()
    (tmp_path / "measurements" / "other.json").write_text("{")
    with pytest.raises(SourceCorrupt, match=r"other\.json"):
        measured("other")


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


def test_what_the_committed_counts_say() -> None:
    """The notebook states this: on models left out, raw rates come nearer than corrected ones."""
    rates = left_out(measured()["refusal"]["by_task_and_model"])
    line = summary(rates).iloc[-1]
    assert line["models"] == rates["estimate"].eq("raw").sum() > 50
    assert line["raw, distance"] < line["judge-corrected, distance"] < 0.05
    assert line["judge-corrected, holds"] > 0.85
    assert rates["recorded"].min() < 0.2
    assert rates["recorded"].max() > 0.95
