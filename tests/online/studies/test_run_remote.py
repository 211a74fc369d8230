"""`monitor` on an endpoint: what it shows is watched, what it does not is left out and said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")
pytest.importorskip("openai")

from tests.models.server import serving
from trustllm_repro.errors import SourceMissing
from trustllm_repro.online.generations.levels import TEXT, TOP5
from trustllm_repro.online.generations.tasks import Case, OnlineTask
from trustllm_repro.online.labels import judges as labels
from trustllm_repro.online.labels.judges import Judge
from trustllm_repro.online.studies import run
from trustllm_repro.online.studies.evaluate import open_study
from trustllm_repro.online.studies.run import Job, monitor

CASES = [Case(i, str(i), f"Question {i}?") for i in range(16)]
TOY = OnlineTask("toy", "odd", "made here", lambda: CASES, ("toy judge",), max_new_tokens=6)
READ = replace(TOY, id="read", cases=lambda: [replace(CASES[0], answer="x")])
# Answers of a random model mean nothing: every other one is called unsafe.
JUDGE = Judge("toy judge", lambda cases, texts: np.array([float(c.number % 2) for c in cases]))


@pytest.fixture(autouse=True)
def _toys(monkeypatch) -> None:
    monkeypatch.setattr(run, "TASKS", {"toy": TOY, "read": READ})
    monkeypatch.setitem(labels.JUDGES, "toy judge", JUDGE)


def watched(address: str, out: Path, **more):
    notes: list[str] = []
    job = Job(f"{address}?api=chat#tiny", out, **{"quick": True, **more})
    return monitor(job, note=notes.append), notes


def test_five_log_probabilities_are_watched_and_asked_for_once(tiny, tmp_path) -> None:
    with serving(tiny) as (address, desk):
        done, notes = watched(address, tmp_path)
        assert len(desk.calls) == len(CASES) + 1  # one to see that there is chat
        desk.calls.clear()
        again, _ = watched(address, tmp_path)
        assert desk.calls == []
    assert set(done.skipped) == {"read"}
    assert "given answers" in notes[0]
    study = open_study(tmp_path)
    pd.testing.assert_frame_equal(study.figures, again.study.figures)
    areas = study.figures.query("metric == 'auroc' and not permuted and labels == 'all'")
    assert set(areas["level"]) == {
        TOP5.name
    }  # without replies nothing is seen less exactly as text
    area = areas.set_index("monitor")
    assert area.loc["average entropy", "value"] == area.loc["average entropy, top 5", "value"]
    assert area.loc["token probe", "reason"] == "no hidden states are shown"
    assert (
        study.figures.query("metric == 'tokens_shown'")["reason"]
        .ne("scores by token were not given")
        .any()
    )


def test_grey_monitors_have_no_cells_without_log_probabilities(tiny, tmp_path) -> None:
    with serving(tiny, logprobs="null") as (address, _):
        done, _ = watched(address, tmp_path, tasks=("toy",))
    found = done.study.figures
    grey = found[found["access"] == "grey box"]
    assert grey["value"].isna().all()
    assert set(grey["reason"]) == {"the endpoint shows no log-probabilities"}
    assert found.query("access == 'black box' and metric == 'auroc'")["value"].notna().any()
    assert set(found["level"]) == {TEXT.name}


def test_prompts_without_an_answer_are_left_out_and_counted(tiny, tmp_path) -> None:
    # Refused with log-probabilities and without them; the first fault is met by the call that finds
    # out about chat.
    with serving(tiny, faults=[None, None, "400", "400"]) as (address, _):
        done, notes = watched(address, tmp_path, tasks=("toy",), batch_size=1)
    assert len(done.study.labels) == len(CASES) - 1
    assert "1 prompts without an answer" in notes[0]


def test_a_task_no_prompt_of_which_is_answered_is_left_out(tiny, tmp_path) -> None:
    refused = ["400"] * 3 * len(CASES)
    with (
        serving(tiny, faults=[None, *refused]) as (address, _),
        pytest.raises(SourceMissing, match="answered no prompt"),
    ):
        watched(address, tmp_path, tasks=("toy",))
