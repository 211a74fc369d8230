"""Notebooks are there to be changed: one line other, and the frames follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.notebooks.cells import run_cells


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
