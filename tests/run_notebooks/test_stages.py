"""The notebook graph: what is checked before a kernel starts, what is run again, what is kept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from pydantic import BaseModel

from tests.notebooks.project import FIRST, FOURTH, MAKES_A_RUN, SECOND, THIRD, Project, printed
from trustllm_repro import paths
from trustllm_repro.errors import ReproError, SettingsError
from trustllm_repro.run_notebooks import stages
from trustllm_repro.run_notebooks.stages import (
    Notebook,
    Plan,
    Stage,
    _startable,
    load_profile,
    make_plan,
    read_notebook,
    run_plan,
)
from trustllm_repro.store import atomic

ALL = (FIRST, SECOND, THIRD)
LIVE = "05_live"


def stage(name: str, *needs: str, model: bool = False) -> Stage:
    made = Notebook(name, [], BaseModel, needs, (), model)
    return Stage(made, {}, needs)


class Desk:
    """A project whose notebooks are not executed but noted."""

    def __init__(self, project: Project) -> None:
        self.project, self.run = project, project.run
        self.executed: list[str] = []
        self.failing: set[str] = set()
        self.parameters: dict[str, dict[str, Any]] = {}

    def execute(self, name: str, parameters: dict[str, Any], run: Path) -> float:
        self.executed.append(name)
        self.parameters[name] = parameters
        folder = run / "notebooks"
        if name == FIRST:
            atomic.write_json(run / "provenance.json", {"package": "x"})
        if name in self.failing:
            atomic.write_text(folder / f"{name}.ipynb", "with an error")
            raise ReproError(f"notebook {name} failed", remedy="fix it")
        for suffix in (".ipynb", ".html"):
            atomic.write_text(folder / f"{name}{suffix}", "good")
        return 0.5

    def plan(self, start_at: str = "") -> Plan:
        return make_plan("tiny", self.run, start_at)

    def go(self, start_at: str = "", workers: int = 2) -> list[str]:
        """Run what is due; returns what was executed."""
        self.executed = []
        run_plan(self.plan(start_at), workers)
        return sorted(self.executed)

    def due(self, start_at: str = "") -> list[str]:
        return [s.name for s in self.plan(start_at).due]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    project = Project(tmp_path / "project").tiny(*ALL)
    project.put("16_overview")
    desk = Desk(project)
    for module in (paths, stages):
        monkeypatch.setattr(module, "project_root", lambda: project.root)
    monkeypatch.setenv("TRUSTLLM_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(stages, "execute", desk.execute)
    monkeypatch.setattr(
        stages, "ProcessPoolExecutor", lambda workers, *how: ThreadPoolExecutor(workers)
    )
    return desk


# --- what fails before anything starts ------------------------------------------------------------


def test_an_unknown_profile(desk):
    with pytest.raises(SettingsError, match="no profile 'none'") as caught:
        make_plan("none", desk.run)
    assert caught.value.remedy == "one of: tiny"
    assert not desk.run.exists()


BAD: dict[str, tuple[Any, list[str]]] = {
    "unknown parameter": ({FIRST: {"recrods": "x"}}, [FIRST, "recrods", "not permitted"]),
    "mistyped number": (
        {"16_overview": {"resamples": "many"}},
        ["16_overview", "resamples", "int"],
    ),
    "number in quotes": ({"16_overview": {"resamples": "1000"}}, ["resamples", "integer"]),
    "too few": ({"16_overview": {"resamples": 5}}, ["resamples", "100"]),
    "a list": ({FIRST: {"records": ["a.zip"]}}, ["records", "string"]),
    "null": ({FIRST: {"records": None}}, ["records", "string"]),
    "word out of three": ({FIRST: {"source": "web"}}, [FIRST, "source", "ledger"]),
    "unknown notebook": ({"99_other": {}}, ["99_other", "00_provenance"]),
    "no mapping": ([FIRST, SECOND], ["notebooks", "dictionary"]),
    "a number for parameters": ({FIRST: 7}, [FIRST, "dictionary"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_profile_with_a_wrong_parameter(desk, case):
    notebooks, words = BAD[case]
    desk.project.profile(notebooks)
    with pytest.raises(SettingsError) as caught:
        desk.go()
    for word in words:
        assert word in str(caught.value)
    assert caught.value.remedy
    assert desk.executed == []
    assert not desk.run.exists()


@pytest.mark.parametrize(
    "text", ["", "just text", "- a\n- b\n", "a: [", "\tx: 1", "describes: x\n"]
)
def test_a_profile_that_is_no_profile(desk, text):
    (desk.project.notebooks / "profiles" / "tiny.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"profile tiny\.yaml") as caught:
        desk.go()
    assert caught.value.remedy
    assert desk.executed == []


def test_a_profile_that_is_not_text(desk):
    (desk.project.notebooks / "profiles" / "tiny.yaml").write_bytes(b"describes: \xff\xfe\n")
    with pytest.raises(SettingsError, match=r"profile tiny\.yaml is not YAML"):
        load_profile("tiny")


def test_a_key_in_a_profile(desk):
    desk.project.profile({FIRST: {"records": "sk" + "-" + "a1B2" * 8}})
    with pytest.raises(SettingsError, match="looks like a secret key") as caught:
        desk.go()
    assert "a1B2" not in str(caught.value)


@pytest.mark.parametrize("value", [1, None, "", b"x", Path("x")])
def test_a_run_folder_of_the_wrong_type(value):
    with pytest.raises(SettingsError, match="run_dir"):
        read_notebook(SECOND).check({"run_dir": value})


def test_defaults_are_filled_in():
    assert read_notebook(FIRST).check({"run_dir": "x"}) == {
        "run_dir": "x", "records": "", "benchmark": "", "source": "auto",
    }  # fmt: skip


def test_a_notebook_of_the_profile_that_is_not_there(desk):
    (desk.project.notebooks / f"{SECOND}.ipynb").unlink()
    with pytest.raises(ReproError, match=f"no notebook '{SECOND}'") as caught:
        desk.go()
    assert caught.value.remedy
    assert desk.executed == []


def test_an_unknown_stage_to_begin_with(desk):
    with pytest.raises(ReproError, match="no stage '10'") as caught:
        desk.go("10")
    assert SECOND in caught.value.remedy
    assert desk.executed == []


# --- what is run, and what is run again -----------------------------------------------------------


def test_the_first_run_runs_all_and_the_second_nothing(desk):
    assert desk.due() == list(ALL)
    assert desk.go() == list(ALL)
    assert desk.executed[0] == FIRST
    assert desk.due() == []
    assert desk.go() == []


def test_a_plan_alone_runs_and_writes_nothing(desk):
    assert desk.due() == list(ALL)
    assert desk.executed == []
    assert not desk.run.exists()


def test_parameters_reach_the_notebook_with_a_relative_folder(desk):
    desk.project.profile({FIRST: {"source": "ledger"}, SECOND: {}})
    desk.go()
    where = str(Path("..", "runs", "tiny"))
    assert desk.parameters[FIRST] == {
        "run_dir": where, "records": "", "benchmark": "", "source": "ledger",
    }  # fmt: skip
    assert desk.parameters[SECOND] == {"run_dir": where, "models": []}


def test_dimension_notebooks_wait_for_the_model_that_answers(desk):
    for name in (LIVE, "17_audit"):
        desk.project.put(name)
    desk.project.profile({FIRST: {}, LIVE: {}, SECOND: {}, "17_audit": {}})
    plan = make_plan("tiny", desk.run)
    needs = {s.name: s.needs for s in plan.stages}
    assert needs == {FIRST: (), LIVE: (FIRST,), SECOND: (FIRST, LIVE), "17_audit": (FIRST,)}


def test_a_changed_notebook_is_run_again_alone(desk):
    desk.go()
    desk.project.put(SECOND, "print('another')")
    assert desk.go() == [SECOND]
    assert desk.go() == []


def test_what_needs_a_changed_notebook_is_run_again_too(desk):
    desk.go()
    desk.project.put(FIRST, MAKES_A_RUN, "print('another')")
    assert desk.go() == list(ALL)


def test_a_new_time_stamp_alone_changes_nothing(desk):
    desk.go()
    os.utime(desk.project.notebooks / f"{SECOND}.ipynb", (1, 1))
    assert desk.due() == []


def test_changed_parameters_run_their_notebook_and_what_needs_it(desk):
    desk.go()
    desk.project.profile({FIRST: {"source": "ledger"}, SECOND: {}, THIRD: {}})
    assert desk.due() == list(ALL)


@pytest.mark.parametrize("suffix", [".ipynb", ".html"])
def test_a_missing_output_is_made_again(desk, suffix):
    desk.go()
    (desk.run / "notebooks" / f"{SECOND}{suffix}").unlink()
    assert desk.go() == [SECOND]


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"{",
        b"\xff",
        b"{}",
        *(s for s in (b"null", b"[]", b"3")),
    ],
)
def test_an_unreadable_state_is_no_state(desk, state):
    desk.go()
    (desk.run / ".stages" / f"{SECOND}.json").write_bytes(state)
    assert desk.go() == [SECOND]


def test_what_a_kill_left_beside_the_states_disturbs_nothing(desk):
    desk.go()
    (desk.run / ".stages" / f".{SECOND}.json-ab12{atomic.PARTIAL}").write_bytes(b"{")
    assert desk.go() == []
    assert desk.go(SECOND) == [SECOND, THIRD]
    facts = json.loads((desk.run / "provenance.json").read_bytes())
    assert facts["stage_seconds"] == dict.fromkeys(ALL, 0.5)


def test_from_runs_that_stage_and_all_after_it(desk):
    desk.go()
    assert desk.due(SECOND) == [SECOND, THIRD]
    assert desk.go(SECOND) == [SECOND, THIRD]
    assert desk.go(FIRST) == list(ALL)
    assert desk.go(THIRD) == [THIRD]
    assert desk.go() == []


def test_another_folder_is_another_run(desk):
    desk.go()
    assert [s.name for s in make_plan("tiny", desk.run.with_name("other")).due] == list(ALL)


def test_a_profile_without_the_first_stage_is_run_all_the_same(desk):
    """Every notebook runs alone, from the committed ledger."""
    desk.project.profile({SECOND: {}})
    assert desk.go() == [SECOND]
    facts = json.loads((desk.run / "provenance.json").read_bytes())
    assert facts == {"stage_seconds": {SECOND: 0.5}}


def test_the_estimate_lets_models_answer_in_turn_and_the_rest_run_in_pairs():
    def planned(*names, **costs):
        return Plan("p", Path(), [stage(n, model=n in costs) for n in names], costs)

    typical = stages.TYPICAL_SECONDS
    assert planned("00_provenance", "10_truthfulness", "11_safety").seconds == 2 * typical
    models = planned("05_live", "20_pilot", "10_truthfulness", **{"05_live": 100, "20_pilot": 50})
    assert models.seconds == 150


def test_seconds_are_noted(desk):
    desk.go()
    facts = json.loads((desk.run / "provenance.json").read_bytes())
    assert facts == {"package": "x", "stage_seconds": dict.fromkeys(ALL, 0.5)}


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_keeps_what_was_finished(desk, workers):
    desk.failing = {SECOND}
    with pytest.raises(ReproError, match=f"{SECOND} failed"):
        desk.go(workers=workers)
    assert FIRST not in desk.due()
    assert SECOND in desk.due()
    assert (desk.run / "notebooks" / f"{SECOND}.ipynb").read_text(
        encoding="utf-8"
    ) == "with an error"
    desk.failing = set()
    left = desk.due()
    assert desk.go() == left
    assert desk.go() == []


def test_nothing_is_started_after_the_first_stage_failed(desk):
    desk.failing = {FIRST}
    with pytest.raises(ReproError, match=f"{FIRST} failed"):
        desk.go()
    assert desk.executed == [FIRST]


def test_a_notebook_that_failed_and_was_restored_is_run_again(desk):
    """The copy in the run folder is the failed one, whatever was there before."""
    path = desk.project.notebooks / f"{SECOND}.ipynb"
    desk.go()
    good = path.read_bytes()
    desk.project.put(SECOND, "1 / 0")
    desk.failing = {SECOND}
    with pytest.raises(ReproError, match=f"{SECOND} failed"):
        desk.go()
    path.write_bytes(good)
    desk.failing = set()
    assert desk.go() == [SECOND]
    assert (desk.run / "notebooks" / f"{SECOND}.ipynb").read_text(encoding="utf-8") == "good"


# --- real kernels ---------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project").with_package()


def modified(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_notebooks_that_start_together_do_not_mix(project):
    """Each has a kernel and sockets of its own; nothing is left beside the notebooks."""
    names = (FIRST, SECOND, THIRD, FOURTH)
    project.tiny(*names)
    before = sorted(p.name for p in project.notebooks.iterdir())
    done = project.reproduce("--workers", "3")
    assert done.returncode == 0, done.stderr
    assert [printed(project.executed(n)) for n in names] == [f"this is {n}\n" for n in names]
    assert sorted(p.name for p in project.notebooks.iterdir()) == before
    assert not [p for p in project.run.rglob("*") if "partial" in p.name]
    first = modified(project.run)
    again = project.reproduce()
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stdout
    assert modified(project.run) == first


def test_a_failing_notebook_on_the_command_line(project):
    project.tiny(FIRST, SECOND)
    project.put(SECOND, r"raise ValueError('[red]no\x1b[31m luck[/b]')", "print('never')")
    done = project.reproduce()
    assert done.returncode == 1
    assert f"error: notebook {SECOND} failed in cell" in done.stderr
    assert "ValueError: [red]no" in done.stderr
    assert "finished stages are kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    book = project.executed(SECOND)
    (error,) = [
        o
        for c in book.cells
        if c.cell_type == "code"
        for o in c.outputs
        if o.output_type == "error"
    ]
    assert error.ename == "ValueError"
    assert printed(book) == f"this is {SECOND}\n"
    states = sorted(p.stem for p in (project.run / ".stages").iterdir())
    assert states == [FIRST]
    project.put(SECOND)
    done = project.reproduce()
    assert done.returncode == 0, done.stderr
    assert f"{SECOND} done" in done.stderr
    assert FIRST not in done.stderr


def test_a_profile_that_compares_nothing_on_the_command_line(project):
    done = project.tiny(SECOND).reproduce()
    assert done.returncode == 0, done.stderr
    assert "published cells" not in done.stdout
    assert f"open {project.run / 'index.html'}" in done.stdout


def plan_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Stage -> state, as the command line shows the plan."""
    rows = [re.split(r"\s{2,}", line) for line in done.stdout.splitlines()]
    return {cells[0]: cells[1] for cells in rows if cells[0] in ALL}


def test_the_plan_on_the_command_line(project):
    project.tiny(FIRST, SECOND)
    done = project.reproduce("--plan", "--from", SECOND)
    assert done.returncode == 0, done.stderr
    assert plan_of(done) == {FIRST: "to run", SECOND: "to run"}
    assert not (project.root / "runs").exists()
    assert project.reproduce("--plan", "--from", "nothing").returncode == 1


KILLS_ITS_KERNEL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
# A kernel is no child of the process that runs the notebook, but knows it.
KILLS_THE_CALLER = """\
import multiprocessing, os, signal, time
from pathlib import Path
Path(run_dir, "kernel").write_text(str(os.getpid()))
os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
time.sleep(600)
"""
NO_NOTEBOOK = '{"cells": [], "nbformat": 4'


@pytest.mark.slow
def test_a_kernel_that_dies(project):
    project.tiny(FIRST, SECOND)
    project.put(SECOND, KILLS_ITS_KERNEL)
    done = project.reproduce()
    assert done.returncode == 1
    assert f"the kernel of notebook {SECOND} died" in done.stderr
    assert "remedy:" in done.stderr
    assert "Traceback" not in done.stderr
    assert (project.run / ".stages" / f"{FIRST}.json").exists()


@pytest.mark.slow
def test_a_worker_that_dies(project):
    """As when memory runs out and the system takes the process that runs the notebook."""
    project.tiny(FIRST, SECOND)
    project.put(SECOND, KILLS_THE_CALLER)
    done = project.reproduce()
    assert done.returncode == 1
    assert "error:" in done.stderr
    assert "remedy:" in done.stderr
    assert "Traceback" not in done.stderr
    assert (project.run / ".stages" / f"{FIRST}.json").exists()
    kernel = int((project.run / "kernel").read_text())
    for _ in range(200):
        if not _runs(kernel):
            break
        time.sleep(0.05)
    assert not _runs(kernel), "a kernel is left behind"


def _runs(process: int) -> bool:
    """Whether it has not ended; one that nobody has waited for yet has."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_file_that_is_no_notebook(project):
    project.tiny(FIRST, SECOND)
    (project.notebooks / f"{SECOND}.ipynb").write_text(NO_NOTEBOOK, encoding="utf-8")
    done = project.reproduce()
    assert done.returncode == 1
    assert SECOND in done.stderr.split("error:", 1)[1]
    assert "Traceback" not in done.stderr


def wait_for(ready: Callable[[], bool], process: subprocess.Popen) -> None:
    while not ready():
        assert process.poll() is None, "the command ended before it could be killed"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(project):
    """kill -9 of the command and its workers while the second of three notebooks is at work."""
    project.tiny(*ALL)
    marks = "from pathlib import Path\nPath(run_dir, 'started').touch()\nimport time\n"
    project.put(SECOND, marks + "while not Path(run_dir, 'go').exists(): time.sleep(0.05)")
    words = project.command("reproduce", "--profile", "tiny", "--workers", "1")
    process = subprocess.Popen(
        words, cwd=project.root, env=project.environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for((project.run / "started").exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert plan_of(project.reproduce("--plan")) == {
        FIRST: "up to date", SECOND: "to run", THIRD: "to run",
    }  # fmt: skip
    (project.run / "go").touch()
    first = (project.run / "notebooks" / f"{FIRST}.ipynb").stat().st_mtime_ns
    done = project.reproduce()
    assert done.returncode == 0, done.stderr
    assert (project.run / "notebooks" / f"{FIRST}.ipynb").stat().st_mtime_ns == first
    for name in ALL:
        nbformat.validate(project.executed(name))
        assert printed(project.executed(name)) == f"this is {name}\n"


@pytest.mark.slow
def test_a_long_folder_for_temporary_files(project, tmp_path, monkeypatch):
    """The path of a socket has about 100 bytes; kernels then talk over TCP."""
    folder = tmp_path / ("a rather long name " * 6)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    done = project.tiny(FIRST).reproduce()
    assert done.returncode == 0, done.stderr
    assert printed(project.executed(FIRST)) == f"this is {FIRST}\n"


@pytest.mark.slow
def test_no_absolute_path_gets_into_an_executed_notebook(project):
    assert project.tiny(FIRST).reproduce().returncode == 0
    for path in sorted(project.run.rglob("*")):
        assert path.is_dir() or str(project.root).encode() not in path.read_bytes(), path.name


def test_models_answer_in_one_notebook_at_a_time() -> None:
    made = [
        stage(LIVE, model=True), stage("16_overview"), stage("20_pilot", model=True),
        stage("24_claims", "20_pilot"),
    ]  # fmt: skip
    assert [s.name for s in _startable(made)] == [LIVE, "16_overview"]
    made[0].state = "running"
    assert [s.name for s in _startable(made)] == ["16_overview"]
    made[0].state = made[1].state = "done"
    assert [s.name for s in _startable(made)] == ["20_pilot"]
    made[2].state = "done"
    assert [s.name for s in _startable(made)] == ["24_claims"]
