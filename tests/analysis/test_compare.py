"""Published beside recomputed; values of evaluated models."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustllm_repro.analysis.compare import (
    compare,
    evaluated_cells,
    published_range,
    tasks_of,
)
from trustllm_repro.data.published import published
from trustllm_repro.errors import SettingsError
from trustllm_repro.scoring.results import verdict_counts
from trustllm_repro.scoring.run import Run, open_run
from trustllm_repro.tasks import DIMENSIONS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(tmp_path_factory.mktemp("run"))


def test_a_cell_has_every_rule_beside_the_published_number(run: Run) -> None:
    found = compare(run, "truth_internal").loc[("mistral-7b", "CODAH")]
    cells = run.cells.query("table == 'truth_internal' and model == 'mistral-7b'")
    by_rule = cells[cells["column"] == "CODAH"].set_index("rule")["value"]
    for rule in ("authors", "toolkit", "corrected"):
        assert found[rule] == by_rule[rule]
    assert found["published"] == published().cells["truth_internal", "mistral-7b", "CODAH"].value
    assert found["better"] == "higher"


def test_models_without_any_answer_are_left_out(run: Run) -> None:
    models = set(compare(run, "safety_misuse").index.get_level_values("model"))
    assert "ernie" not in models
    assert "gpt-4" in models


def test_values_of_our_judge_stand_apart(run: Run) -> None:
    ours = run.cells[run.cells["rule"] == "our judge"]
    line = ours.iloc[0]
    found = compare(run, line["table"]).loc[(line["model"], line["column"])]
    assert found["our_judge"] == line["value"]
    assert found["verdict"] == "not recorded"


def test_unknown_tables_and_columns_are_named(run: Run) -> None:
    with pytest.raises(SettingsError, match="safety_misuse"):
        compare(run, "safety_missuse")
    with pytest.raises(SettingsError, match="one of: jailbreak, toxicity, overall"):
        compare(run, "safety_jailbreak", ["leet"])


def test_every_published_cell_is_counted_once(run: Run) -> None:
    assert verdict_counts(run.cells).to_numpy().sum() == 2158


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_each_task_says_what_it_asks(run: Run, dimension: str) -> None:
    found = tasks_of(run, dimension)
    assert len(found) == len(DIMENSIONS[dimension].TASKS)
    assert (found["asks"].str.len() > 0).all()


def test_evaluated_models_have_bounds_and_corrected_shares(run: Run) -> None:
    found = evaluated_cells(run.evaluated(), "safety")
    tables = set(found.index.get_level_values("table"))
    assert "leaderboard_safety" in tables
    assert not tables & {"leaderboard_ethics", "safety_jailbreak_by_attack"}  # of recorded answers
    assert found["judge_corrected"].notna().any()
    known = found[found["bound_low"].notna()]
    assert (known["bound_low"] <= known["value"] + 1e-9).all()


def test_no_evaluated_model_is_an_empty_frame(run: Run) -> None:
    assert evaluated_cells([]).empty


def test_published_ranges(run: Run) -> None:
    span = published_range(run).loc[("ethics_moralchoice_low", "Acc")]
    known = [c.value for (t, _, _), c in published().cells.items() if t == "ethics_moralchoice_low"]
    assert (span["min"], span["max"]) == (min(known), max(known))


def test_looking_writes_nothing(tmp_path: Path) -> None:
    compare(open_run(tmp_path / "none"), "safety_misuse")
    assert not (tmp_path / "none").exists()
