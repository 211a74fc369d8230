"""The notebooks as a graph of stages, run by papermill.

A stage is skipped when nothing it depends on has changed since it last ran, and its outputs exist.
A killed run goes on where it stopped; a failing notebook stops the run and is kept with its error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from trustllm_repro.errors import ReproError
from trustllm_repro.run_notebooks.execute import CONTEXT, execute
from trustllm_repro.run_notebooks.index import Status, write_index
from trustllm_repro.run_notebooks.plan import Plan, Stage, read_state, state_file
from trustllm_repro.store.atomic import write_json


def run_plan(plan: Plan, workers: int = 0, note: Callable[[str], None] = lambda text: None) -> None:
    """Run what is due, independent notebooks side by side, and keep index.html up to date.

    Args:
        workers: notebooks at a time; 0: one a core.

    Raises:
        ReproError: a notebook failed. Notebooks already running are finished and kept first.
    """
    due = {s.name: s for s in plan.due}
    known = {s.name: s.digest for s in plan.stages}
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
                known[stage.name] = stage.digest
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
    except (BrokenProcessPool, ReproError) as e:
        error = e if isinstance(e, ReproError) else ReproError(
            f"the process that ran notebook {stage.name} was killed",
            remedy="most often memory ran out: try --workers 1; finished stages are kept",
        )  # fmt: skip
        return Status("failed", note=error.problem), error
    write_json(state_file(run, stage.name), {"inputs": dict(stage.inputs), "seconds": seconds})
    return Status("done", seconds), None
