"""The model card says what was measured, and nothing else."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from tools.judges.card import card
from trustllm_repro.judges.learned import judges_dir
from trustllm_repro.paths import data_dir


@pytest.fixture
def results() -> dict[str, Any]:
    path = data_dir() / "measurements" / "judges.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def files() -> dict[str, Any]:
    path = judges_dir() / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8"))["files"]


def test_the_committed_card_is_that_of_the_committed_measurements(results, files) -> None:
    text = (judges_dir() / "README.md").read_text(encoding="utf-8")
    assert text == card(results, files), "write it again: python -m tools.judges.card"


def test_it_names_files_sources_models_and_tasks(results, files) -> None:
    text = card(results, files)
    for facts in files.values():
        assert facts["sha256"] in text
    for name in (*results["sources_sha256"].values(), *results["refusal"]["by_model"],
                 *results["refusal"]["by_task"], *results["toxicity"]["by_model"]):  # fmt: skip
        assert name in text


def test_its_tables_are_whole(results, files) -> None:
    """Every line of a table has as many cells as its head; no format was left unfilled."""
    width = 0
    for line in card(results, files).splitlines():
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line))
            assert width in (0, cells), line
            width = cells
        else:
            width = 0
            assert not re.search(r"\{\w*\}", line), line


def test_a_changed_number_changes_the_card(results, files) -> None:
    other = copy.deepcopy(results)
    other["refusal"]["by_model"]["gpt-4"]["judge"]["kappa"] = 0.123
    assert "0.123" in card(other, files)
    assert "0.123" not in card(results, files)


def test_what_was_not_measured_is_left_out(results, files) -> None:
    less = copy.deepcopy(results)
    less["refusal"].pop("human_labels", None)
    less["refusal"].pop("unsure", None)
    less["toxicity"]["others"] = dict.fromkeys(less["toxicity"]["others"])
    text = card(less, files)
    assert "Labels by people" not in text
    assert "alt-profanity-check" not in text
    assert "| unsure |" not in text


def test_the_remark_on_corrected_rates_follows_the_numbers(results, files) -> None:
    assert "corrected rates lie farther" in card(results, files)
    fair = copy.deepcopy(results)
    exact = {"tp": 90, "fn": 10, "fp": 10, "tn": 40}
    many = {"tp": 900, "fn": 100, "fp": 10, "tn": 40}
    fair["refusal"]["by_task_and_model"] = {"t": {"a": exact, "b": many, "c": exact, "d": many}}
    assert "corrected rates lie farther" not in card(fair, files)
