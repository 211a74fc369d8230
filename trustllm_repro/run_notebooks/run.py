"""The notebooks as a graph of stages, run by papermill.

A stage is skipped when nothing it depends on has changed since it last ran, and its outputs exist.
A killed run goes on where it stopped; a failing notebook stops the run and is kept with its error.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trustllm_repro.errors import ReproError
from trustllm_repro.run_notebooks.index import Status, write_index
from trustllm_repro.run_notebooks.kernel import CONTEXT
from trustllm_repro.run_notebooks.notebook import notebooks_dir
from trustllm_repro.run_notebooks.plan import Plan, Stage, hash_of, read_state, state_file
from trustllm_repro.store.atomic import write_json, write_text

# --- one notebook


def execute(name: str, parameters: dict[str, Any], run: Path) -> float:
    """Run one notebook; the executed copy and its HTML are put in place whole. Returns seconds.

    Raises:
        ReproError: a cell failed (the copy with the error is kept under its name), or the kernel
            died.
    """
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from trustllm_repro.run_notebooks.page import to_html

    start = time.perf_counter()
    folder = run / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.ipynb"
    partial, log = folder / f".{name}.partial.ipynb", folder.absolute() / f".{name}.log"
    try:
        with _stderr_to(log):
            _papermill(name, parameters, partial, log)
    except PapermillExecutionError as e:
        _settle(partial, target)
        raise ReproError(
            f"notebook {name} failed in cell {e.exec_count}: {e.ename}: {e.evalue}",
            remedy=f"see {target}; fix the cause and run the command again, finished stages are "
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
    log.unlink(missing_ok=True)
    _settle(partial, target)
    to_html(target, target.with_suffix(".html"))
    return time.perf_counter() - start


def _papermill(name: str, parameters: dict[str, Any], partial: Path, log: Path) -> None:
    import papermill
    from traitlets.config import Config

    from trustllm_repro.run_notebooks.kernel import ForkedKernels

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
            request_save_on_cell_execute=False,  # twice a cell, the whole notebook
            kernel_manager_class=ForkedKernels,
            config=Config({"KernelManager": sockets, "ForkedKernels": {"log_file": str(log)}}),
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
    known = {s.name: hash_of(s.inputs) for s in plan.stages}
    status = {
        s.name: Status("due", note=s.changed) if s.changed
        else Status("done", read_state(plan.run, s.name).get("seconds"))
        for s in plan.stages
    }  # fmt: skip
    workers = max(1, min(workers or os.cpu_count() or 1, len(due)))
    running: dict[Future[float], Stage] = {}
    failure: ReproError | None = None
    # Fresh processes: papermill keeps an event loop and a client per process.
    with ProcessPoolExecutor(workers, mp_context=CONTEXT) as pool:
        while True:
            done = {name for name, s in status.items() if s.state == "done"}
            may = _startable(due.values(), done, running.values()) if failure is None else []
            for stage in may[: workers - len(running)]:
                # What earlier stages left behind is there only now.
                stage = due.pop(stage.name).with_inputs(known)
                known[stage.name] = hash_of(stage.inputs)
                # From here on the last success is history, whatever becomes of this run.
                state_file(plan.run, stage.name).unlink(missing_ok=True)
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
    write_json(state_file(run, stage.name), {"inputs": dict(stage.inputs), "seconds": seconds})
    return Status("done", seconds), None
