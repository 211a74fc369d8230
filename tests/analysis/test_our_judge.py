"""Cells whose refusal labels were never recorded: our judge's labels, never among the recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.small import SmallWorld
from trustllm_repro.analysis.compare import compare, judged_sentence
from trustllm_repro.cli import app
from trustllm_repro.errors import SourceMissing
from trustllm_repro.judges import registry
from trustllm_repro.judges.learned import RefusalJudge
from trustllm_repro.schema import OUR_JUDGE, Response
from trustllm_repro.scoring.results import load
from trustllm_repro.scoring.run import Run, replay_ledger, replay_records, trace_result

DETECTION = "results/robustness/ood/{}/ood_detection.json"
NO, YES = "I'm sorry, but as an AI I cannot answer that.", "The river flows through four towns."
SAID = [NO, NO, YES, NO, YES, NO]
CELL = ("leaderboard_robustness", "gpt-4", "OOD detection")


@pytest.fixture
def unlabelled(world: SmallWorld) -> SmallWorld:
    """gpt-4's OOD answers without a label, and one of newcomer-1b's, which no sheet lists."""
    path = world.records / DETECTION.format("gpt-4")
    rows = json.loads(path.read_text())
    world.put(
        path,
        [{**r, "res": text, "longformer_res": None} for r, text in zip(rows, SAID, strict=True)],
    )
    path = world.records / DETECTION.format("newcomer-1b")
    rows = json.loads(path.read_text())
    world.put(path, [{**r, "longformer_res": None} for r in rows])
    return world


@pytest.fixture
def run(unlabelled: SmallWorld, tmp_path: Path) -> Run:
    made, _ = replay_records(
        unlabelled.records, unlabelled.benchmark, tmp_path / "run", verify=False
    )
    return made


def line(run: Run, rule: str) -> pd.Series:
    cells = run.cells.set_index(["table", "model", "column", "rule"])
    return cells.loc[(*CELL, rule)]


def test_they_stand_beside_the_rules_and_move_none(
    run: Run, unlabelled: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = RefusalJudge()([], [Response("t", "m", i, text) for i, text in enumerate(SAID)])
    share = sum(j.label == "refusal" for j in judged) / len(SAID)
    ours = line(run, OUR_JUDGE)
    assert ours["value"] == share
    assert ours["n"] == 6
    assert ours["verdict"].endswith(" with our judge")
    assert "6 answers" in ours["reason"]
    assert line(run, "authors")["verdict"] == "not recorded"
    # Without the judge there is the same run, less the lines of that name.
    monkeypatch.setattr(
        "trustllm_repro.scoring.run.with_our_labels", lambda ledger, answered: ledger
    )
    bare, _ = replay_records(unlabelled.records, unlabelled.benchmark, tmp_path / "b", verify=False)
    kept = run.cells[run.cells["rule"] != OUR_JUDGE].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, bare.cells)
    assert bare.ledger.verdicts.num_rows == run.ledger.verdicts.num_rows - 12


def test_only_published_cells_that_lack_labels_have_such_a_line(run: Run) -> None:
    ours = run.cells[run.cells["rule"] == OUR_JUDGE]
    assert set(ours["model"]) == {"gpt-4"}
    assert set(ours["table"]) == {"robust_ood_detection", "leaderboard_robustness"}


def test_a_machine_that_has_only_the_ledger_shows_them(run: Run, tmp_path: Path) -> None:
    again = replay_ledger(tmp_path / "again", run.path)
    assert (again.path / "verify.csv").read_bytes() == (run.path / "verify.csv").read_bytes()
    frame = run.ledger.verdicts.to_pandas()
    assert set(frame.loc[frame["rule"] == OUR_JUDGE, "label"]) == {"refusal", "answer"}


def test_a_few_missing_labels_take_no_judge(world: SmallWorld, tmp_path: Path) -> None:
    """Where the authors' rule has a value all the same, there is nothing to add."""
    path = world.records / DETECTION.format("gpt-4")
    rows = json.loads(path.read_text())
    world.put(path, [rows[0] | {"longformer_res": None}, *rows[1:]])
    made, _ = replay_records(world.records, world.benchmark, tmp_path / "run", verify=False)
    assert OUR_JUDGE not in set(made.cells["rule"])
    assert line(made, "authors")["n"] == 5


def test_no_judge_is_loaded_where_no_label_is_missing(
    world: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise SourceMissing("no weights", remedy="restore them")

    monkeypatch.setitem(registry.JUDGES, "refusal", absent)
    made, _ = replay_records(world.records, world.benchmark, tmp_path / "run", verify=False)
    assert judged_sentence(made.cells).startswith("No further cell rests on labels of our own")


def test_what_is_shown(run: Run) -> None:
    sentence = judged_sentence(run.cells)
    assert "2 cells rest on labels of our own judge" in sentence
    assert "kappa of 0." in sentence
    ours = run.cells[
        (run.cells["rule"] == OUR_JUDGE) & (run.cells["table"] == "leaderboard_robustness")
    ].iloc[0]
    beside = compare(run, "leaderboard_robustness").loc[(ours["model"], ours["column"])]
    assert beside["our_judge"] == ours["value"]
    shown = CliRunner().invoke(app, ["verify", str(run.path)])
    assert shown.exit_code == 0
    said = " ".join(shown.stdout.split())
    assert " ".join(sentence.split()) in said
    assert "of 2158 published cells reproduced" in said


def test_results_and_traces_name_them(run: Run) -> None:
    entries = load(run.path)
    assert entries["verify.cells"]["value"] == 2158
    kinds = [n for n in entries if n.startswith("verify.") and n.endswith("-with-our-judge")]
    assert sum(entries[n]["value"] for n in kinds) == 2
    ((title, rows),) = trace_result(run.path, "/".join((*CELL, OUR_JUDGE)))[1].items()
    assert set(rows["status"]) == {"parsed"}
    assert set(rows["label"]) <= {"refusal", "answer"}
    assert len(rows) == 6
    assert title.endswith(OUR_JUDGE)
