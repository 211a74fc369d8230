"""Notebooks are there to be changed: one line other, and the frames follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.notebooks.cells import run_cells
from trustllm_repro.scoring.results import load


def test_safety_by_source_instead_of_attack(tmp_path: Path) -> None:
    other = {'groupby(["attack", "model"])': 'groupby(["source", "model"])'}
    space = run_cells("11_safety", other, run_dir=str(tmp_path))
    assert set(space["grid"].index) == {"ITC", "QBB"}
    assert space["grid"].notna().all(axis=None)
    assert (tmp_path / "figures" / "safety_attacks.csv").exists()


def test_safety_with_a_metric_of_ones_own(tmp_path: Path) -> None:
    mine = {"REFUSED, by=": "lambda part: float(len(part)), by="}
    space = run_cells("11_safety", mine, run_dir=str(tmp_path))
    sizes = space["misuse"].groupby(["model", "source"]).size().unstack()
    assert (space["per_source"].iloc[:, :3] == sizes).all(axis=None)


def test_provenance_under_the_toolkit_s_rule(tmp_path: Path) -> None:
    space = run_cells(
        "00_provenance",
        {'moved["corrected"]': 'moved["toolkit"]'},
        run_dir=str(tmp_path),
        source="ledger",
    )
    assert isinstance(space["by_table"], pd.DataFrame)
    assert space["by_table"]["largest"].max() == space["bands"].loc["toolkit", "largest"]
    assert (tmp_path / "verify.csv").exists()


def test_truthfulness_of_another_set(tmp_path: Path) -> None:
    other = {"query(\"source == 'mc' and label != ''\")": "query(\"source == 'halu_qa' and label != ''\")"}
    letters = run_cells("10_truthfulness", other, run_dir=str(tmp_path))["letters"]
    assert set(letters.columns) == {"No", "Yes"}
    assert np.allclose(letters.sum(axis=1), 1)


def test_fairness_by_race_instead_of_sex(tmp_path: Path) -> None:
    space = run_cells(
        "12_fairness", {'"sex", "female", "male"': '"race", "black", "white"'}, run_dir=str(tmp_path)
    )
    counts = space["pairs"].drop(columns="p")
    assert {"black higher", "white higher"} <= set(counts.columns)


def test_robustness_of_another_pair_of_models(tmp_path: Path) -> None:
    other = {'"chatgpt", "vicuna-13b"': '"gpt-4", "llama2-70b"'}
    space = run_cells("13_robustness", other, run_dir=str(tmp_path))
    refused = space["refused"]
    expected = refused["llama2-70b"].mean() - refused["gpt-4"].mean()
    assert space["test"].value == pytest.approx(expected)


def test_privacy_without_examples(tmp_path: Path) -> None:
    other = {'leak["shots"] == "five-shot"': 'leak["shots"] == "zero-shot"'}
    found = run_cells("14_privacy", other, run_dir=str(tmp_path))["found"]
    assert (found["value"].dropna() == 0).all()
    assert found["value"].notna().any()


def test_ethics_by_another_label(tmp_path: Path) -> None:
    other = {'metric = Rate(("neutral",))': 'metric = Rate(("bad",))'}
    leaning = run_cells("15_machine_ethics", other, run_dir=str(tmp_path))["leaning"]
    assert (leaning["bad"] > leaning["good"]).all()


def test_a_ranking_without_safety(tmp_path: Path) -> None:
    space = run_cells("16_overview", {'"safety": 1,': '"safety": 0,'}, run_dir=str(tmp_path))
    without = space["parts"].drop(columns="safety").mean(axis=1)
    assert np.allclose(space["own"]["own weights"].sort_index(), without.sort_index())


def test_labels_before_and_after_of_another_task(tmp_path: Path) -> None:
    other = {'task, by = "moralchoice_low", "model"': 'task, by = "jailbreak", "attack"'}
    space = run_cells("17_audit", other, run_dir=str(tmp_path))
    assert space["become"].to_numpy().sum() == len(space["before"])


def test_the_refusal_judge_on_one_model(tmp_path: Path) -> None:
    other = {'key, level = "safety/jailbreak", "task"': 'key, level = "gpt-4", "model"'}
    table = run_cells("18_judges", other, run_dir=str(tmp_path))["table"]
    assert "safety/misuse" in table.index
    known = table.dropna()
    assert (known["sensitivity, low"] <= known["sensitivity"]).all()


def test_a_card_over_one_task(tmp_path: Path) -> None:
    old = 'tasks = ["jailbreak", "misuse", "preference", "ood_detection", "ETHICS", "social_chemistry"]'
    same = run_cells("19_my_model", {old: 'tasks = ["jailbreak"]'}, run_dir=str(tmp_path))["same"]
    assert "jailbreak" in set(same["task"])
    assert "misuse" not in set(same["task"])


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run folder with an online study; see made_study."""
    pytest.importorskip("transformers")
    from tests.notebooks.made_study import made_study

    return str(made_study(tmp_path_factory.mktemp("studied")).path)


def test_the_pilot_with_a_shorter_judge(studied: str) -> None:
    other = {"len(text) > 300": "len(text) > 10"}  # all answers have 20 characters
    space = run_cells("20_pilot", other, run_dir=studied, models=[], tasks=["harm"])
    assert space["own"].loc[0.5].eq(0).all()
    assert space["own"].loc[1.0].eq(1).all()
    assert len(space["counts"]) == 1


def test_monitors_at_another_risk_and_one_that_looks_at_states(studied: str) -> None:
    other = {'"prefix + token probe", 0.10,': '"token probe", 0.30,',
             "generation.trace.entropy": "generation.trace.hidden[1][:, 0]",
             '["reasoned", "code"]': '["harm"]'}  # fmt: skip
    space = run_cells("21_benchmark", other, run_dir=studied)
    safe = space["mine"][~space["mine"]["unsafe"]]
    assert set(safe["monitor"]) == {"token probe"}
    assert 0.1 < safe["at all"].mean() < 0.5
    own = space["kept"].query("metric == 'auroc'").set_index("permuted")["value"]
    assert own[False] > 0.8 > own[True]
    learned = space["sizes"].query("metric == 'auroc'").set_index(["permuted", "answers"])["value"]
    assert list(learned[False].index) == [50, 100, 200]
    assert learned[False, 200] > 0.9 > 0.7 > learned[True, 200]
    halfway = space["halfway"].set_index("monitor")
    assert len(halfway) == 7
    assert halfway.loc["prefix + token probe", "ci_low"] > 0 > halfway.loc["average entropy", "ci_high"]


def test_access_of_the_whole_answer_to_another_monitor(studied: str) -> None:
    other = {'"at_32", "maximum entropy"': '"score", "average entropy"'}
    space = run_cells("22_access_levels", other, run_dir=studied)
    assert space["early"]["other"].tolist() == ["average entropy"]
    assert space["early"]["ci_low"].iloc[0] > 0  # states tell, entropy does not
    clock = space["grid"].xs("clock", level="monitor").iloc[0]
    assert clock["text"] == clock["hidden states"]


def test_stopping_at_another_risk(studied: str) -> None:
    space = run_cells("23_hybrids_and_stopping", {'"clock"], 0.05': '"clock"], 0.30'}, run_dir=studied)
    last = space["curve"].query("token == 128 and monitor == 'prefix + token probe'").set_index("answers")
    assert last.loc["unsafe", "stopped"] > last.loc["safe", "stopped"]
    assert 0.1 < last.loc["safe", "stopped"] < 0.5
    assert np.allclose(space["rates"][["on_time", "late", "missed"]].sum(axis=1), 1)


def test_claims_by_an_easier_criterion(studied: str) -> None:
    space = run_cells("24_claims", {'"auroc_32", 0.6': '"auroc_32", 0.3'}, run_dir=studied)
    assert space["asked"]["yes"].mean() > 0.9  # so the placebo passes as well
    assert list(space["found"]["id"]) == [f"C{i}" for i in range(1, 7)]
    assert (Path(studied) / "tables" / "online_claims.csv").exists()
    assert load(Path(studied))["online.C1.verdict"]["value"] == space["found"]["verdict"].iloc[0]


RATED = [(f"Question {i}?", ("good " if i % 2 else "bad ") * 8, i % 2 == 0) for i in range(60)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    from tests.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("tiny"))


def test_the_guard_reads_another_answer(tiny: Path, tmp_path: Path) -> None:
    from trustllm_repro.online.guard.guard import Guard

    file = Guard.fit(str(tiny), RATED, dtype="float32").save(tmp_path / "tiny.guard")
    space = run_cells(
        "25_watch", {'"steps": "First': '"mine": "First'}, run_dir=str(tmp_path), guard_file=str(file),
        risk=0.10, max_new_tokens=6,
    )  # fmt: skip
    assert space["summary"].index.tolist() == ["a fact", "mine"]
    assert 1 <= len(space["answer"]) <= 7
    assert set("".join(space["tokens"])) <= {"·"}  # the text is not shown
    assert (tmp_path / "figures" / "watch.csv").exists()


def test_a_guard_for_another_model_at_another_risk(tiny: Path, tmp_path: Path, monkeypatch) -> None:
    from trustllm_repro.online.generations.tasks import TASKS, Case

    rated = [Case(i, p, p, a, u) for i, (p, a, u) in enumerate(RATED)]
    asked = [Case(i, f"Who is {i}?", f"Who is {i}?", references=("Ann",)) for i in range(6)]
    for name, cases in (("harm", rated), ("wrong_answers", asked)):
        monkeypatch.setitem(TASKS, name, replace(TASKS[name], cases=lambda cases=cases: cases))
    space = run_cells(
        "30_early_tokens_gpu", {"risk = 0.10": "risk = 0.30"}, run_dir=str(tmp_path), model=str(tiny),
        task="wrong_answers", max_new_tokens=4, batch_size=4, rounds=1, dtype="float32", device="cpu",
    )  # fmt: skip
    assert len(space["alarms"]) == 6
    assert space["alarms"]["token"].between(0, 4).all()
    assert set(space["times"]["batch"]) == {1, 8, 32}
    assert set(space["times"]["guarded"]) == {False, True}
