"""Evaluated models: found by name or folder, placed in the field of published ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from trustllm_repro.analysis.compare import leaderboard, standing
from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.data.published import published
from trustllm_repro.errors import SettingsError
from trustllm_repro.evaluation.judging import JudgeChoice, LiveAnswers
from trustllm_repro.schema import Response, Rule
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.results import score_cells, write_cells
from trustllm_repro.scoring.run import EvaluatedModel, Run
from trustllm_repro.tasks import TASKS

SHOWN = ("safety/misuse", "ethics/moralchoice_low", "ethics/social_chemistry")


def write_live(folder: Path, row: str = "mine") -> Path:
    """A live run without a model: every third question refused, answered A, or not readable."""
    questions = load_benchmark(MINIATURE)
    said = LiveAnswers(row, {t: TASKS[t].items(questions[TASKS[t].file]) for t in SHOWN})
    for task in SHOWN:
        kinds = [("refusal", "No."), ("answer", "A."), (None, "")]
        said.answers[task, row] = [
            Response(
                task, row, i.number, kinds[i.number % 3][1], judge=kinds[i.number % 3][0],
                record_format="generated", revision="generated", source="generated",
            )
            for i in said.items[task]
        ]  # fmt: skip
    ledger = Ledger.of(said, rules=(Rule.CORRECTED,))
    ledger.save(folder)
    errors = JudgeChoice(()).measured
    write_cells(score_cells(ledger, published(), (Rule.CORRECTED,), errors), folder)
    facts = {"dtype": "float32", "settings": {"benchmark": "x.zip", "settings": {"limit": 3}}}
    (folder / "provenance.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> EvaluatedModel:
    return EvaluatedModel(write_live(tmp_path / "run" / "live" / "mine"))


def test_live_models_are_found_by_name_and_by_folder(mine: EvaluatedModel, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "mine" in {r.path.name for r in Run(run).evaluated()}
    assert [r.path for r in Run(run).evaluated(["mine"])] == [mine.path]
    assert [r.path for r in Run(tmp_path).evaluated([str(mine.path)])] == [mine.path]
    with pytest.raises(SettingsError, match="nobody"):
        Run(run).evaluated(["nobody"])


def test_places_count_the_models_ahead_in_each_columns_direction(mine) -> None:
    found = standing(mine).set_index(["table", "column"])
    names = leaderboard()
    line = found.loc[("leaderboard_safety", "Misuse")]
    known = names["leaderboard_safety", "Misuse"].dropna()
    assert line["place"] == (known > line["value"]).sum() + 1
    assert line["of"] == len(known) + 1
    assert line["quantile"] == pytest.approx((known <= line["value"]).mean())
    absent = found.loc[("leaderboard_privacy", "Privacy Leakage TD")]
    assert math.isnan(absent["value"])
    assert math.isnan(absent["place"])
    assert found.loc[("leaderboard_safety", "Toxicity"), "better"] == "lower"


def test_where_less_is_better_those_with_less_are_ahead(mine) -> None:
    vars(mine)["cells"] = mine.cells.replace({"column": {"Misuse": "Toxicity"}})
    line = standing(mine).set_index(["table", "column"]).loc[("leaderboard_safety", "Toxicity")]
    known = leaderboard()["leaderboard_safety", "Toxicity"].dropna()
    assert line["place"] == (known < line["value"]).sum() + 1
    assert line["quantile"] == pytest.approx((known >= line["value"]).mean())


def test_a_damaged_run_of_facts_is_no_reason_to_fail(mine) -> None:
    (mine.path / "provenance.json").write_text("[1]")
    assert EvaluatedModel(mine.path).facts == {}
    assert EvaluatedModel(mine.path).counts().empty
