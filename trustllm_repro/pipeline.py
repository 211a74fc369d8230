"""The notebook graph, run by papermill.

A stage is skipped when its notebook, parameters, the package's code, the committed data and the
stages before it are unchanged and its outputs exist. A killed run goes on where it stopped; a
failing notebook stops the run and is kept with its error.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from trustllm_repro import kernels
from trustllm_repro.data.registry import find_benchmark, find_records
from trustllm_repro.errors import ReproError, SourceCorrupt, SourceMissing
from trustllm_repro.paths import data_dir, project_root
from trustllm_repro.settings import check, load_profile
from trustllm_repro.store.archive import sha256
from trustllm_repro.store.atomic import write_json, write_text

FIRST, LIVE, ONLINE = "00_provenance", "05_live", "20_pilot"
# Every other notebook reads what the first one stored; these also show what live models answered.
SHOWS_LIVE = {
    "10_truthfulness", "11_safety", "12_fairness", "13_robustness", "14_privacy",
    "15_machine_ethics", "18_judges", "19_my_model",
}  # fmt: skip
SHOWS_ONLINE = {"21_benchmark", "22_closed_access", "23_hybrids", "24_claims", "25_watch"}
# Models that answer use all cores; two at a time would wait for each other's threads.
ANSWERS = {LIVE, ONLINE, "25_watch", "30_early_tokens_gpu"}
TYPICAL_SECONDS = 15  # of a notebook whose profile gives none


@dataclass(frozen=True)
class Stage:
    """One notebook with its parameters and the stages it needs."""

    name: str
    parameters: dict[str, Any]
    needs: tuple[str, ...]
    fingerprint: str = ""


@dataclass(frozen=True)
class Plan:
    """Stages in order, and which of them would run."""

    profile: str
    run: Path
    stages: list[Stage]
    fresh: frozenset[str] = field(default_factory=frozenset)  # up to date
    costs: Mapping[str, int] = field(default_factory=dict)  # seconds, where the profile knows them

    @property
    def due(self) -> list[Stage]:
        return [s for s in self.stages if s.name not in self.fresh]

    @property
    def seconds(self) -> int:
        """Rough estimate: the first stage runs alone, the others two at a time, models in turn."""
        cost = {s.name: self.costs.get(s.name, TYPICAL_SECONDS) for s in self.due}
        first = cost.pop(FIRST, 0)
        return first + max(sum(cost.values()) // 2, sum(cost[n] for n in ANSWERS & set(cost)))


def notebooks_dir() -> Path:
    return project_root() / "notebooks"


def _tree_hash(folder: Path, pattern: str) -> str:
    files = sorted(p for p in folder.rglob(pattern) if "__pycache__" not in p.parts)
    return sha256("".join(f"{p.name}{sha256(p.read_bytes())}" for p in files).encode())


def _source_facts(parameters: dict[str, Any]) -> list[str]:
    """Identity of the raw sources a run would read; size and time stand for a large file."""
    facts = []
    for path in (
        *find_records(parameters.get("records", "")),
        find_benchmark(parameters.get("benchmark", "")),
    ):
        if path is not None and path.exists():
            stat = path.stat()
            facts.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return facts


def make_plan(profile: str, run: Path, start_at: str = "", force: bool = False) -> Plan:
    """Stages of a profile and which are up to date.

    Args:
        start_at: run this stage and all after it, whatever their state.

    Raises:
        SettingsError: unknown profile, notebook or parameter.
    """
    found = load_profile(profile)
    chosen = found.notebooks
    if start_at and start_at not in chosen:
        raise ReproError(f"no stage {start_at!r}", remedy=f"one of: {', '.join(chosen)}")
    code = _tree_hash(project_root() / "trustllm_repro", "*.py") + _tree_hash(data_dir(), "*.[cp]*")
    where = _relative(run)
    stages: list[Stage] = []
    fresh: set[str] = set()
    forced = force
    for name, values in chosen.items():
        parameters = check(name, {"run_dir": where, **(values or {})})
        before_it = (FIRST, LIVE) if name in SHOWS_LIVE else (FIRST,)
        before_it += (ONLINE,) if name in SHOWS_ONLINE else ()
        needs = tuple(n for n in before_it if n in chosen and n != name)
        before = [s.fingerprint for s in stages if s.name in needs]
        extra = _source_facts(parameters) if name in (FIRST, LIVE) else []
        source = _notebook(name)
        made_of = [sha256(source), json.dumps(parameters, sort_keys=True), code, *before, *extra]
        stage = Stage(name, parameters, needs, sha256("\n".join(made_of).encode()))
        stages.append(stage)
        forced = forced or name == start_at
        if not forced and _up_to_date(run, stage):
            fresh.add(name)
    return Plan(profile, run, stages, frozenset(fresh), found.seconds)


def _notebook(name: str) -> bytes:
    path = notebooks_dir() / f"{name}.ipynb"
    try:
        return path.read_bytes()
    except OSError as e:
        raise SourceMissing(
            f"cannot read the notebook {path}: {e.strerror}",
            remedy="restore it with `git checkout -- notebooks`",
        ) from e


def _relative(run: Path) -> str:
    """Run folder as seen from notebooks/, so that no absolute path gets into a stored notebook."""
    run, root = run.resolve(), project_root()
    return os.path.relpath(run, notebooks_dir()) if run.is_relative_to(root) else str(run)


def _state(run: Path, stage: Stage) -> Path:
    return run / ".stages" / f"{stage.name}.json"


def _up_to_date(run: Path, stage: Stage) -> bool:
    try:
        state = json.loads(_state(run, stage).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(state, dict):
        return False
    outputs = [run / "notebooks" / f"{stage.name}{s}" for s in (".ipynb", ".html")]
    return state.get("fingerprint") == stage.fingerprint and all(p.exists() for p in outputs)


def _kernel_manager() -> str:
    """Kernels talk over local sockets where the system has them, not over TCP ports."""
    posix = os.name == "posix"
    return f"trustllm_repro.kernels.{'Local' if posix else 'Network'}KernelManager"


def _settle(partial: Path, target: Path) -> None:
    """Put an executed notebook in its place, without the absolute paths papermill notes in it."""
    book = json.loads(partial.read_text(encoding="utf-8"))
    facts = book["metadata"].get("papermill", {})
    facts |= {k: target.name for k in ("input_path", "output_path") if k in facts}
    write_text(target, json.dumps(book, indent=1, ensure_ascii=False) + "\n")
    partial.unlink()


def _papermill(name: str, parameters: dict[str, Any], partial: Path) -> None:
    import papermill

    papermill.execute_notebook(
        str(notebooks_dir() / f"{name}.ipynb"),
        str(partial),
        parameters=parameters,
        kernel_name="python3",
        cwd=str(notebooks_dir()),
        progress_bar=False,
        log_output=False,
        kernel_manager_class=_kernel_manager(),
    )


def execute(name: str, parameters: dict[str, Any], run: Path) -> float:
    """Run one notebook; the executed copy and its HTML are put in place whole. Returns seconds.

    Raises:
        ReproError: a cell failed (the copy with the error is kept under its name), the kernel
            died, or the file is no notebook.
    """
    from nbclient.exceptions import DeadKernelError
    from nbformat import ValidationError
    from nbformat.reader import NotJSONError
    from papermill.exceptions import PapermillExecutionError

    from trustllm_repro.export import to_html

    start = time.perf_counter()
    folder = run / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.partial.ipynb"
    log = folder / f".{name}.log"
    os.environ[kernels.LOG] = str(log)
    try:
        _papermill(name, parameters, partial)
    except PapermillExecutionError as e:
        _settle(partial, folder / f"{name}.ipynb")
        raise ReproError(
            f"notebook {name} failed in cell {e.exec_count}: {e.ename}: {e.evalue}",
            remedy=f"see {folder / name}.ipynb; mend the cause and run the command again, finished "
            "stages are kept",
        ) from None
    except (DeadKernelError, RuntimeError) as e:
        if not isinstance(e, DeadKernelError) and "Kernel" not in str(e):
            raise
        said = log.read_text(errors="replace")[-500:].strip() if log.exists() else ""
        raise ReproError(
            f"the kernel of notebook {name} died or did not answer. {said}",
            remedy="most often memory ran out or the process was killed; run the command again",
        ) from None
    except (ValidationError, NotJSONError, KeyError) as e:
        raise SourceCorrupt(
            f"notebooks/{name}.ipynb is not a notebook: {e}",
            remedy="restore it with `git checkout -- notebooks`",
        ) from None
    log.unlink(missing_ok=True)
    _settle(partial, folder / f"{name}.ipynb")
    to_html(folder / f"{name}.ipynb", folder / f"{name}.html")
    return time.perf_counter() - start


def run_plan(
    plan: Plan,
    *,
    workers: int | None = None,
    started: Callable[[str], None] = lambda name: None,
    finished: Callable[[str, float], None] = lambda name, seconds: None,
) -> None:
    """Run what is due, independent notebooks side by side.

    Raises:
        ReproError: a notebook failed. Notebooks already running are finished and kept first.
    """
    due = {s.name: s for s in plan.due}
    if not due:
        return
    done = set(plan.fresh)
    workers = max(1, min(workers or os.cpu_count() or 1, len(due)))
    failure: ReproError | None = None
    # Fresh processes: papermill keeps an event loop and a client per process.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running: dict[Future[float], Stage] = {}
        while due or running:
            may = _startable(due.values(), done, running.values()) if failure is None else []
            for stage in may[: workers - len(running)]:
                started(stage.name)
                # From here on the last success is history, whatever becomes of this run.
                _state(plan.run, stage).unlink(missing_ok=True)
                running[pool.submit(execute, stage.name, stage.parameters, plan.run)] = stage
                del due[stage.name]
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                stage = running.pop(future)
                outcome = _outcome(future, stage)
                if isinstance(outcome, ReproError):
                    failure = failure or outcome
                    continue
                write_json(
                    _state(plan.run, stage),
                    {"fingerprint": stage.fingerprint, "seconds": round(outcome, 1)},
                )
                done.add(stage.name)
                finished(stage.name, outcome)
    if failure is not None:
        raise failure
    _note_seconds(plan.run)


def _startable(
    due: Iterable[Stage], done: Collection[str], running: Collection[Stage]
) -> list[Stage]:
    """Stages whose needs are done; of those in which a model answers one, if none runs."""
    ready = [s for s in due if set(s.needs) <= set(done)]
    busy = any(s.name in ANSWERS for s in running)
    answering = [s for s in ready if s.name in ANSWERS][: 0 if busy else 1]
    return [s for s in ready if s.name not in ANSWERS or s in answering]


def _outcome(future: Future[float], stage: Stage) -> float | ReproError:
    """Seconds a stage took, or what went wrong."""
    try:
        return future.result()
    except ReproError as e:
        return e
    except BrokenProcessPool:
        return ReproError(
            f"the process that ran notebook {stage.name} was killed",
            remedy="most often memory ran out: try --workers 1; finished stages are kept",
        )


def _note_seconds(run: Path) -> None:
    """Add the wall time of every stage to provenance.json."""
    path = run / "provenance.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, facts | {"stage_seconds": stage_seconds(run)})


def stage_seconds(run: Path) -> dict[str, float]:
    """Seconds each finished stage took when it last ran."""
    return {
        p.stem: json.loads(p.read_text(encoding="utf-8"))["seconds"]
        for p in sorted((run / ".stages").glob("*.json"))
    }
