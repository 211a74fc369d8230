"""Answers as frames, and any metric on them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.metrics.measures import REFUSED, RIGHT, Rate
from trustllm_repro.parsers.corrected import Chosen
from trustllm_repro.parsers.text import Option
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.ledger import ANSWER
from trustllm_repro.scoring.results import committed_ledger
from trustllm_repro.scoring.run import Run, find_task, open_run, read_answers, score
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import Column, Task


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(tmp_path_factory.mktemp("none") / "fresh")


def test_a_fresh_folder_is_a_run_and_stays_empty(run: Run) -> None:
    assert len(run.cells) > 6000
    assert not run.path.exists()


def test_answers_have_a_column_a_facet(run: Run) -> None:
    answers = run.answers("jailbreak")
    assert list(answers.columns) == [*ANSWER, "source", "attack", "file"]
    assert set(answers["model"]) <= set(run.ledger.models)
    assert answers.attrs["asked"] == 1400


def test_scores_are_those_of_the_tables(run: Run) -> None:
    found = score(run.answers("exaggerated_safety", Rule.AUTHORS), REFUSED).set_index("model")
    cells = run.cells.query("table == 'safety_exaggerated' and rule == 'authors'")
    cells = cells[cells["value"].notna()].set_index("model")
    assert found.loc[cells.index, "value"].tolist() == cells["value"].tolist()
    assert found.loc[cells.index, "n"].tolist() == cells["n"].tolist()


def test_a_function_is_a_metric_with_an_interval(run: Run) -> None:
    answers = run.answers("exaggerated_safety")
    ours = score(answers, lambda part: (part["label"] == "refusal").mean())
    theirs = score(answers, REFUSED)
    np.testing.assert_allclose(ours["value"], theirs["value"])
    assert (ours["ci_low"] <= ours["value"]).all()
    np.testing.assert_allclose(ours["ci_low"], theirs["ci_low"], atol=0.03)


def test_groups_by_several_columns(run: Run) -> None:
    found = score(run.answers("misuse"), REFUSED, by=["model", "source"])
    assert list(found.columns[:3]) == ["model", "source", "value"]
    assert (found["n_missing"] == 0).all()


def test_an_absent_value_has_a_reason(run: Run) -> None:
    found = score(run.answers("misuse").head(5), Rate(("x",)), by="model")
    assert found["value"].tolist() == [0.0]
    gone = score(run.answers("misuse").head(5), lambda part: float("nan"))
    assert gone["reason"].tolist() == ["the metric gives no number here"]


def test_unknown_tasks_are_named() -> None:
    with pytest.raises(SettingsError, match="no task 'jail'"):
        find_task("jail")
    assert find_task("safety/jailbreak") is find_task("jailbreak")


CAPITALS = Task(
    id="mine/capitals", title="Capitals", asks="", source="", file=None, gold="gold",
    facets={"continent": "continent"},
    parsers=Chosen((Option("A", "A"), Option("B", "B")), marked=True), columns=(Column("", ""),),
)  # fmt: skip
ROWS = [
    {"prompt": "1", "gold": "A", "continent": "Europe"},
    {"prompt": "2", "gold": "B", "continent": "Asia"},
    {"prompt": "3", "gold": "A", "continent": "Asia"},
]


def test_a_task_of_ones_own_from_three_items() -> None:
    frame = read_answers(CAPITALS, ROWS, {"me": ["The answer is A.", "A", "no idea"]})
    assert frame["label"].tolist() == ["right", "wrong", ""]
    assert frame["status"].tolist() == ["parsed", "parsed", "unparsed"]
    by_continent = score(frame, RIGHT, by="continent").set_index("continent")
    assert by_continent["value"].to_dict() == {"Europe": 1.0, "Asia": 0.0}
    assert by_continent.loc["Asia", "n_unparsed"] == 1


def test_too_few_answers_are_refused() -> None:
    with pytest.raises(SettingsError, match="2 answers to 3 items"):
        read_answers(CAPITALS, ROWS, {"me": ["A", "B"]})


def test_a_judge_is_any_function_from_texts_to_labels() -> None:
    task, rows = TASKS["safety/misuse"], load_benchmark(MINIATURE)[TASKS["safety/misuse"].file]
    said = ["no way", "of course"] * (len(task.items(rows)) // 2)
    said += ["no way"] * (len(task.items(rows)) - len(said))
    found = read_answers(
        task, rows, {"me": said},
        judge=lambda texts: ["refusal" if str(t).startswith("no") else "answer" for t in texts],
    )  # fmt: skip
    share = np.mean([s.startswith("no") for s in said])
    assert score(found, REFUSED)["value"].tolist() == [pytest.approx(share)]


def test_the_folder_of_a_run_is_not_written_by_looking(tmp_path: Path) -> None:
    run = open_run(tmp_path / "a")
    run.answers("misuse")
    assert list(tmp_path.iterdir()) == []


def test_half_a_run_is_not_taken_for_the_committed_one(tmp_path: Path) -> None:
    shutil.copy(committed_ledger() / "ledger.parquet", tmp_path)
    with pytest.raises(SourceMissing, match=r"cells.* does not exist"):
        _ = open_run(tmp_path).cells


def test_a_task_nobody_was_asked_has_no_answers(tmp_path: Path):
    found = open_run(tmp_path).evaluated(["smollm2-135m"])[0].answers("confaide_sensitivity")
    assert found.empty
    assert list(found.columns[:2]) == ["model", "item"]
    assert found.attrs["asked"] == 0
