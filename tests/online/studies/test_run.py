"""`monitor` from model to tables, with a tiny model and tasks made here."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")

from rich.console import Console
from trustllm_repro.online.studies.study import label, monitors_for
from typer.testing import CliRunner

from trustllm_repro.cli import app
from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.online import report
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.tasks import TASKS, OnlineTask
from trustllm_repro.online.labels import judges as labels
from trustllm_repro.online.labels.judges import OutputJudge
from trustllm_repro.online.monitors.base import Need, all_monitors
from trustllm_repro.online.studies import run
from trustllm_repro.online.studies.run import Job, monitor

WORDS = ("tram", "bus", "boat", "kite", "mill", "hill")


def given(n: int = 60) -> list[Case]:
    """Given answers: every other one is bad, and says so at its end."""
    return [
        Case(
            i, str(i), f"Question {i}?",
            f"The {WORDS[i % 6]} is {'bad' if i % 2 else 'fine'}.", unsafe=bool(i % 2),
        )
        for i in range(n)
    ]  # fmt: skip


def missing() -> list[Case]:
    raise SourceMissing("no such wheel", remedy="get it")


TOY = OnlineTask("toy", "Toy", "bad", "made here", given, ("people", "says bad"), "says bad", 40)
TOYS = {"toy": TOY, "gone": replace(TOY, id="gone", title="Gone", cases=missing)}
SAYS_BAD = OutputJudge(
    "says bad",
    "holds the word bad",
    lambda cases, texts: np.array([float("bad" in t) for t in texts]),
)


@pytest.fixture(autouse=True)
def _toys(monkeypatch) -> None:
    for module in (run, report):
        monkeypatch.setattr(module, "TASKS", TOYS)
    monkeypatch.setitem(labels.JUDGES, "says bad", SAYS_BAD)


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """One quick run; its notes."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (run, report):
            patch.setattr(module, "TASKS", TOYS)
        patch.setitem(labels.JUDGES, "says bad", SAYS_BAD)
        notes: list[str] = []
        out = tmp_path_factory.mktemp("run")
        return (
            monitor(Job(str(tiny), out, device="cpu", allowed="one answer"), note=notes.append),
            notes,
            out,
        )


def test_tables_hold_every_monitor_and_figure(made) -> None:
    done, _, out = made
    bench = pd.read_csv(out / "tables" / "online_benchmark.csv")
    assert set(bench["task"]) == {"toy"}
    assert set(monitors_for(TOY, allowed="one answer")) < set(bench["monitor"])
    assert {"hybrid", "white box", "grey box", "black box"} == set(bench["access"])
    empty = bench[bench["value"].isna()]
    assert empty["reason"].notna().all()
    assert len(bench) == len(done.tables.rows["benchmark"])


def test_labels_are_counted_and_compared(made) -> None:
    table = pd.read_csv(made[2] / "tables" / "online_labels.csv").set_index("judge")
    assert table["unsafe"].to_dict() == {"people": 0.5, "says bad": 0.5}
    assert table.loc["says bad", "kappa"] == 1
    assert table["labels"].to_dict() == {"people": True, "says bad": False}


def test_the_pilot_sees_the_word_at_the_end(made) -> None:
    pilot = pd.read_csv(made[2] / "tables" / "online_pilot.csv")
    share = pilot[pilot["axis"] == "share"].set_index(["kind", "cut"])["value"]
    assert share["unsafe, first touch", 0.5] == 0
    assert share["unsafe, stable", 1.0] == 1
    assert share["safe, first touch", 1.0] == 0


def test_what_cannot_be_had_is_left_out_and_said(made) -> None:
    done, notes, _ = made
    assert set(done.tables.skipped) == {"gone"}
    assert "no such wheel" in notes[0]


def test_facts_of_tasks_asked_for_before_are_kept(tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(TOYS, "other", replace(TOY, id="other"))
    job = Job(str(tiny), tmp_path, ("toy",), 20, device="cpu", allowed="single pass", seeds=(0,))
    monitor(replace(job, tasks=("toy", "gone")), note=lambda text: None)
    monitor(replace(job, tasks=("other",)), note=lambda text: None)
    (path,) = tmp_path.glob("online/*/provenance.json")
    facts = json.loads(path.read_text())
    assert set(facts["seconds"]) == {"toy", "other"}
    assert all(s > 0 for s in facts["seconds"].values())
    assert set(facts["skipped"]) == {"gone"}
    monkeypatch.setitem(TOYS, "gone", replace(TOY, id="gone"))
    path.write_text(path.read_text()[:-40])  # damaged: noted anew
    monitor(replace(job, tasks=("gone",)), note=lambda text: None)
    facts = json.loads(path.read_text())
    assert (set(facts["seconds"]), facts["skipped"]) == ({"gone"}, {})


def test_a_task_that_runs_code_needs_consent(tiny, tmp_path, monkeypatch) -> None:
    row = {"prompt": "def f():\n", "entry_point": "f", "test": "def check(f):\n    f()\n"}
    problems = [Case(i, str(i), f"Write it, {i}.", extra=row) for i in range(12)]
    coding = replace(
        TOY, id="coding", cases=lambda: problems, judges=("tests", "syntax"),
        prefix_judge="past mending", max_new_tokens=4, runs_code=True,
    )  # fmt: skip
    monkeypatch.setitem(TOYS, "coding", coding)
    job = Job(str(tiny), tmp_path, ("coding",), device="cpu", allowed="single pass", seeds=(0,))
    with pytest.raises(SourceMissing, match=r"consent(.|\n)*--run-code"):
        monitor(job, note=lambda text: None)
    done = monitor(replace(job, run_code=True), note=lambda text: None)
    table = done.tables.frame("labels").set_index("judge")
    assert table["unsafe"].to_dict() == {"tests": 1, "syntax": 1}  # it writes noise
    assert table["n"].tolist() == [12, 12]


def test_a_task_may_take_fewer_cases_than_there_are(monkeypatch) -> None:
    many = replace(TOY, most=7)
    for limit, n in ((0, 7), (5, 5), (9, 9)):
        assert len(run._cases(many, Job("m", Path("out"), limit=limit))) == n


def test_nothing_to_do_is_an_error(tiny, tmp_path) -> None:
    with pytest.raises(SourceMissing, match="no task"):
        monitor(Job(str(tiny), tmp_path, ("gone",), device="cpu"), note=lambda text: None)


def test_the_second_run_asks_nothing_and_says_the_same(made, tiny, monkeypatch) -> None:
    done, _, out = made
    before = (out / "tables" / "online_pilot.csv").read_bytes()
    monkeypatch.setattr("trustllm_repro.online.generations.collect.given", None)
    again = monitor(Job(str(tiny), out, device="cpu", allowed="one answer"), note=lambda text: None)
    assert (out / "tables" / "online_pilot.csv").read_bytes() == before
    one, two = (d.tables.frame("benchmark") for d in (done, again))
    pd.testing.assert_frame_equal(one, two)


def test_one_kind_of_answers_is_no_crash(tiny, tmp_path, monkeypatch) -> None:
    safe = [replace(c, unsafe=False) for c in given(20)]
    monkeypatch.setitem(TOYS, "toy", replace(TOY, cases=lambda: safe))
    done = monitor(Job(str(tiny), tmp_path, ("toy",), device="cpu", allowed="one answer"))
    areas = [r for r in done.tables.rows["benchmark"] if r["figure"] == "AUROC"]
    assert all(math.isnan(r["value"]) and r["reason"] for r in areas)


def test_answers_without_a_label_are_left_out_and_counted() -> None:
    cases = [replace(c, unsafe=None) if c.number < 5 else c for c in given(20)]
    seen = [
        type("S", (), {"trace": type("T", (), {"text": c.answer, "__len__": lambda s: 1})()})
        for c in cases
    ]
    danger, lines = label(TOY, cases, seen)
    assert np.isnan(danger[:5]).all()
    assert [(x["n"], x["without_label"]) for x in lines] == [(15, 5), (15, 5)]


def test_the_judge_of_the_labels_is_no_monitor() -> None:
    assert set(all_monitors()) - set(monitors_for(TASKS["toxicity"])) == {"guard: toxicity"}
    # Our classifier has learned from the recorded labels of these very answers.
    left_out = set(all_monitors()) - set(monitors_for(TASKS["jailbreak"]))
    assert left_out == {"guard: compliance"}
    assert set(monitors_for(TOY)) == set(all_monitors())
    costly = {Need.SAMPLES, Need.BRANCHES, Need.REPLIES}
    assert not any(m.needs & costly for m in monitors_for(TOY, "one answer").values())
    single = monitors_for(TOY, "single pass")
    assert {"always", "never", "SAPLMA"} <= set(single) < set(monitors_for(TOY, "one answer"))
    assert not any(Need.TEXT in m.needs for m in single.values())


def test_own_prompts_stand_for_those_of_toxicity(tiny, tmp_path, monkeypatch) -> None:
    by_judge = replace(TOY, id="toxicity", cases=missing, judges=("says bad",))
    monkeypatch.setitem(TOYS, "toxicity", by_judge)
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(f"The weather on day {i} was" for i in range(12)))
    job = Job(str(tiny), tmp_path, ("toxicity",), device="cpu", allowed="single pass",
              prompts=str(path))  # fmt: skip
    found = monitor(job, note=lambda text: None).tables.frame("labels")
    assert found["n"].tolist() == [12]
    with pytest.raises(SourceMissing, match=r"none\.txt"):
        monitor(replace(job, prompts=str(tmp_path / "none.txt")))
    with pytest.raises(SettingsError, match="own prompts"):
        replace(job, tasks=("toy",))


@pytest.mark.parametrize(
    "more", [{"tasks": ("nothing",)}, {"limit": -1}, {"batch_size": -1}, {"allowed": "some"}]
)
def test_senseless_jobs_are_refused(tmp_path, more) -> None:
    with pytest.raises(SettingsError):
        Job("m", tmp_path, **more)


def test_a_model_whose_states_cannot_be_seen_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(run, "find_model", lambda spec, **more: SimpleNamespace(name="m"))
    with pytest.raises(SettingsError, match="no hidden states"):
        run.watchable("http://localhost:1/v1#m", "float32", "cpu")


def test_the_command_prints_tables_and_no_text(tiny, tmp_path, made) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    report.show(made[0], console)
    text = console.export_text()
    assert "after a quarter of the tokens" in text
    assert "linear probe, last layer" in text
    assert "The tram" not in text
    shown = CliRunner().invoke(app, ["monitor", "--help"])
    assert "--quick" in shown.output
    wrong = CliRunner().invoke(
        app, ["monitor", "--model", str(tiny), "--out", str(tmp_path), "--task", "x"]
    )
    assert isinstance(wrong.exception, SettingsError)
