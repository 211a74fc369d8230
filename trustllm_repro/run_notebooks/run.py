"""The notebooks as a graph of stages, run by papermill.

A stage is skipped when nothing it depends on has changed since it last ran, and its outputs exist.
A killed run goes on where it stopped; a failing notebook stops the run and is kept with its error.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from trustllm_repro.errors import ReproError, SettingsError
from trustllm_repro.paths import project_root
from trustllm_repro.run_notebooks.index import Status, write_index
from trustllm_repro.run_notebooks.inputs import code_used, files_read
from trustllm_repro.run_notebooks.notebook import (
    Notebook,
    checked,
    load_profile,
    notebooks_dir,
    read_notebook,
)
from trustllm_repro.store.archive import sha256
from trustllm_repro.store.atomic import write_json, write_text

FIRST = "00_provenance"
TYPICAL_SECONDS = 15  # of a notebook whose profile gives none


@dataclass(frozen=True)
class Stage:
    """One notebook with its parameters and the stages it needs.

    Attributes:
        inputs: hashes of what it depends on, by kind.
        changed: what has changed since it last ran, in words; "" if it is up to date.
    """

    notebook: Notebook
    parameters: dict[str, Any]
    needs: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    changed: str = ""

    @property
    def name(self) -> str:
        return self.notebook.name

    def with_inputs(self, before: Mapping[str, str]) -> Stage:
        """The stage with hashes of what it depends on now.

        Args:
            before: a hash of the inputs of each stage it needs.
        """
        parts = {
            "notebook": self.notebook.cells,
            "parameters": self.parameters,
            "files": files_read(self.notebook.reads, self.parameters),
            "code": code_used(text for kind, text in self.notebook.cells if kind == "code"),
            "earlier stages": {n: before[n] for n in self.needs},
        }
        return replace(self, inputs={k: _hash(v) for k, v in parts.items()})


@dataclass(frozen=True)
class Plan:
    """Stages of a profile in order; `costs`: seconds, where the profile knows them."""

    profile: str
    run: Path
    stages: list[Stage]
    costs: Mapping[str, int] = field(default_factory=dict)
    describes: str = ""

    @property
    def due(self) -> list[Stage]:
        return [s for s in self.stages if s.changed]

    @property
    def seconds(self) -> int:
        """Rough estimate: the first stage runs alone, the others two at a time, models in turn."""
        cost = {s.name: self.costs.get(s.name, TYPICAL_SECONDS) for s in self.due}
        first = cost.pop(FIRST, 0)
        models = sum(cost[s.name] for s in self.due if s.notebook.model and s.name in cost)
        return first + max(sum(cost.values()) // 2, models)


def make_plan(profile: str, run: Path, start_at: str = "") -> Plan:
    """Stages of a profile and which are up to date.

    Args:
        start_at: run this stage and all after it, whatever their state.

    Raises:
        SettingsError: unknown profile, notebook or parameter. SourceCorrupt: no notebook.
    """
    found = load_profile(profile)
    if start_at and start_at not in found.notebooks:
        raise ReproError(f"no stage {start_at!r}", remedy=f"one of: {', '.join(found.notebooks)}")
    stages: list[Stage] = []
    before: dict[str, str] = {}
    forced = ""
    for name, values in found.notebooks.items():
        notebook = read_notebook(name)
        parameters = checked(notebook, {"run_dir": _relative(run), **values})
        needs = tuple(n for n in notebook.needs if n in found.notebooks)
        if late := [n for n in needs if n not in before]:
            raise SettingsError(
                f"profile {profile} names {name} before {late[0]}, which it needs",
                remedy=f"change their order in notebooks/profiles/{profile}.yaml",
            )
        stage = Stage(notebook, parameters, needs).with_inputs(before)
        before[name] = _hash(stage.inputs)
        forced = f"--from {start_at}" if name == start_at else forced
        stages.append(replace(stage, changed=forced or _changed(run, stage)))
    return Plan(profile, run, stages, found.seconds, found.describes)


def _hash(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode())


def _relative(run: Path) -> str:
    """Run folder as seen from notebooks/, so that no absolute path gets into a stored notebook."""
    run, root = run.resolve(), project_root()
    return os.path.relpath(run, notebooks_dir()) if run.is_relative_to(root) else str(run)


def _state(run: Path, name: str) -> Path:
    return run / ".stages" / f"{name}.json"


def _read_state(run: Path, name: str) -> dict[str, Any]:
    """Inputs and seconds of a stage that was finished; empty where nothing readable says so."""
    try:
        found = json.loads(_state(run, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _changed(run: Path, stage: Stage) -> str:
    """What has changed since a stage last ran, in words; "" if nothing has."""
    known = _read_state(run, stage.name).get("inputs")
    if not isinstance(known, dict):
        return "not run yet"
    if not all((run / "notebooks" / f"{stage.name}{s}").exists() for s in (".ipynb", ".html")):
        return "output is missing"
    other = [kind for kind, now in stage.inputs.items() if known.get(kind) != now]
    return f"changed: {', '.join(other)}" if other else ""


# --- one notebook


def execute(name: str, parameters: dict[str, Any], run: Path) -> float:
    """Run one notebook; the executed copy and its HTML are put in place whole. Returns seconds.

    Raises:
        ReproError: a cell failed (the copy with the error is kept under its name), or the kernel
            died.
    """
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from trustllm_repro.export import to_html

    start = time.perf_counter()
    folder = run / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.ipynb"
    partial, log = folder / f".{name}.partial.ipynb", folder / f".{name}.log"
    try:
        with _stderr_to(log):
            _papermill(name, parameters, partial)
    except PapermillExecutionError as e:
        _settle(partial, target)
        raise ReproError(
            f"notebook {name} failed in cell {e.exec_count}: {e.ename}: {e.evalue}",
            remedy=f"see {target}; mend the cause and run the command again, finished stages are "
            "kept",
        ) from None
    except (DeadKernelError, RuntimeError) as e:
        if not isinstance(e, DeadKernelError) and "Kernel" not in str(e):
            raise
        said = log.read_text(errors="replace")[-500:].strip()
        raise ReproError(
            f"the kernel of notebook {name} died or did not answer. {said}",
            remedy="most often memory ran out or the process was killed; run the command again",
        ) from None
    log.unlink()
    _settle(partial, target)
    to_html(target, target.with_suffix(".html"))
    return time.perf_counter() - start


def _papermill(name: str, parameters: dict[str, Any], partial: Path) -> None:
    import papermill
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="trustllm-") as folder:
        # Sockets in a folder of their own: no open ports, and kernels that start at once cannot
        # choose the same ones. The system allows about 100 bytes for the path of a socket.
        local = os.name == "posix" and len(os.fsencode(folder)) < 85
        sockets = {"transport": "ipc", "ip": os.path.join(folder, "kernel")} if local else {}
        papermill.execute_notebook(
            str(notebooks_dir() / f"{name}.ipynb"),
            str(partial),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(notebooks_dir()),
            progress_bar=False,
            log_output=False,
            config=Config({"KernelManager": sockets}),
        )


@contextmanager
def _stderr_to(log: Path) -> Iterator[None]:
    """What this process and its kernel write to stderr goes to a file; a cell's is not affected."""
    kept = os.dup(2)
    try:
        with open(log, "wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _settle(partial: Path, target: Path) -> None:
    """Put an executed notebook in its place, without the absolute paths papermill notes in it."""
    book = json.loads(partial.read_text(encoding="utf-8"))
    facts = book["metadata"].get("papermill", {})
    facts |= {k: target.name for k in ("input_path", "output_path") if k in facts}
    write_text(target, json.dumps(book, indent=1, ensure_ascii=False) + "\n")
    partial.unlink()


# --- all that are due


def run_plan(plan: Plan, workers: int = 0, note: Callable[[str], None] = lambda text: None) -> None:
    """Run what is due, independent notebooks side by side, and keep index.html up to date.

    Args:
        workers: notebooks at a time; 0: one a core.

    Raises:
        ReproError: a notebook failed. Notebooks already running are finished and kept first.
    """
    due = {s.name: s for s in plan.due}
    known = {s.name: _hash(s.inputs) for s in plan.stages}
    status = {
        s.name: Status("due", note=s.changed) if s.changed
        else Status("done", _read_state(plan.run, s.name).get("seconds"))
        for s in plan.stages
    }  # fmt: skip
    workers = max(1, min(workers or os.cpu_count() or 1, len(due)))
    running: dict[Future[float], Stage] = {}
    failure: ReproError | None = None
    # Fresh processes: papermill keeps an event loop and a client per process.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        while True:
            done = {name for name, s in status.items() if s.state == "done"}
            may = _startable(due.values(), done, running.values()) if failure is None else []
            for stage in may[: workers - len(running)]:
                # What earlier stages left behind is there only now.
                stage = due.pop(stage.name).with_inputs(known)
                known[stage.name] = _hash(stage.inputs)
                # From here on the last success is history, whatever becomes of this run.
                _state(plan.run, stage.name).unlink(missing_ok=True)
                running[pool.submit(execute, stage.name, stage.parameters, plan.run)] = stage
                status[stage.name] = Status("running")
                note(f"{stage.name} ...")
            write_index(plan, status)
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                stage = running.pop(future)
                status[stage.name], error = _settled(plan.run, future, stage)
                failure = failure or error
                if error is None:
                    note(f"{stage.name} done in {status[stage.name].seconds} s")
    if failure is not None:
        raise failure
    if plan.due:
        path = plan.run / "provenance.json"
        facts = json.loads(path.read_text(encoding="utf-8"))
        took = {name: s.seconds for name, s in status.items()}
        write_json(path, facts | {"stage_seconds": took})


def _startable(
    due: Iterable[Stage], done: Collection[str], running: Collection[Stage]
) -> list[Stage]:
    """Stages whose needs are done; of those in which a model answers one, if none runs.

    A model that answers uses all cores; two at a time would wait for each other's threads.
    """
    ready = [s for s in due if set(s.needs) <= set(done)]
    busy = any(s.notebook.model for s in running)
    answering = [s for s in ready if s.notebook.model][: 0 if busy else 1]
    return [s for s in ready if not s.notebook.model or s in answering]


def _settled(run: Path, future: Future[float], stage: Stage) -> tuple[Status, ReproError | None]:
    """What became of a stage, and what went wrong. Its inputs are kept if nothing did."""
    try:
        seconds = round(future.result(), 1)
    except BrokenProcessPool:
        error = ReproError(
            f"the process that ran notebook {stage.name} was killed",
            remedy="most often memory ran out: try --workers 1; finished stages are kept",
        )
        return Status("failed", note=error.problem), error
    except ReproError as error:
        return Status("failed", note=error.problem), error
    write_json(_state(run, stage.name), {"inputs": dict(stage.inputs), "seconds": seconds})
    return Status("done", seconds), None
