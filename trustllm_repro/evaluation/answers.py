"""`evaluate --answers`: the row of a model whose answers the official package has made already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trustllm_repro.data.benchmark import MINIATURE, Benchmark, open_benchmark
from trustllm_repro.data.official_answers import OfficialAnswers, Place, load_answers
from trustllm_repro.errors import SettingsError
from trustllm_repro.evaluation.generate import Generated
from trustllm_repro.evaluation.judge_choice import JudgeChoice
from trustllm_repro.evaluation.judging import Live, judged
from trustllm_repro.evaluation.plan import Plan, Settings
from trustllm_repro.evaluation.responses import Asked
from trustllm_repro.evaluation.run import Evaluation, Say, check_out, quiet, row_name, write_run
from trustllm_repro.judges.judge import Judge, Judgement
from trustllm_repro.metrics.judge_error import JudgeError
from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.schema import Item, Response, Rule, Status
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance
from trustllm_repro.tasks import TASKS

LONGFORMER = "LibrAI/longformer-harmful-ro"  # the paper's judge of refusals


@dataclass(frozen=True)
class GivenJob:
    """Which answers to evaluate, on what. See the command's options."""

    answers: Path
    benchmark: str
    out: Path
    dimensions: tuple[str, ...] = ()
    model_name: str = ""
    verify: bool = True
    judges: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeepsLabels:
    """A judge that leaves alone what the paper's judge has labelled already."""

    judge: Judge
    labels: Mapping[Place, str]

    @property
    def name(self) -> str:
        return self.judge.name

    @property
    def digest(self) -> str:
        return self.judge.digest

    def __call__(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Judgement]:
        made = [Judgement(self.labels.get((r.task, r.number))) for r in responses]
        left = [i for i, j in enumerate(made) if j.label is None]
        if left:
            found = self.judge([items[i] for i in left], [responses[i] for i in left])
            for i, judgement in zip(left, found, strict=True):
                made[i] = judgement
        return made


def evaluate_answers(
    job: GivenJob, say: Say = quiet, note: Callable[[str], None] = print
) -> Evaluation:
    """Read, judge, score, write; no model is asked.

    The row stands under two rules: `corrected`, by this package's judges (labels of the paper's
    refusal judge are kept where the answers carry them, unless another one is asked for), and
    `toolkit`, where what the official functions need is in the answers.

    Raises:
        ReproError: a source is missing or malformed, or `out` cannot be written or holds another
            model's run.
    """
    judges = JudgeChoice(job.judges)
    Settings(job.dimensions)  # an unknown dimension is refused before anything is read
    benchmark = open_benchmark(job.benchmark, verify=job.verify)
    given = load_answers(job.answers, benchmark, job.model_name)
    check_out(job.out, given.model)
    plan = _plan(benchmark, given, job.dimensions)
    row = row_name(given.model, miniature=benchmark.path == MINIATURE)
    labels = {} if "refusal" in judges.replaced else given.labels
    kept = _per_task(labels, plan)

    def choose(name: str) -> Judge:
        judge = judges(name)
        return KeepsLabels(judge, labels) if name == "refusal" and labels else judge

    def measured(task: str) -> JudgeError | None:
        return None if task in kept else judges.measured(task)

    said = {_key(p): Completion(t, Finish.STOP, 0, 0) for p, t in given.texts.items()}
    live = judged(row, plan, said, choose, progress=lambda d, t: say("judging", d, t, ""))
    _count(live, given, kept)
    official = Ledger.of(_as_stored(live, given.labels), rules=(Rule.TOOLKIT,))
    run = write_run(job.out, live, measured, official=official)
    _write_facts(job, benchmark, given, live, kept)
    for line in _notes(given, plan, kept):
        note(line)
    return Evaluation(run, row, "", live, Generated(0, 0, 0, 0.0), plan)


def _key(place: Place) -> str:
    return f"{place[0]} {place[1]}"


def _plan(benchmark: Benchmark, given: OfficialAnswers, dimensions: Sequence[str]) -> Plan:
    """All items of the tasks whose files are there, as if they were asked."""
    chosen = [
        t
        for t in TASKS.values()
        if t.live and t.file in given.names and (not dimensions or t.dimension in dimensions)
    ]
    if not chosen:
        raise SettingsError(
            f"no answers in {', '.join(dimensions)}",
            remedy=f"there are answers to {', '.join(sorted(given.names))}",
        )
    items = {t.id: t.items(benchmark[t.file or ""]) for t in chosen}
    places = [(t.id, i.number) for t in chosen if not t.answers_of for i in items[t.id]]
    return Plan(items, [Asked(*p, 0, _key(p)) for p in places], [])


def _per_task(labels: Mapping[Place, str], plan: Plan) -> dict[str, int]:
    """Labels of the paper's judge per task, where there are any."""
    counts = {t: sum(task == t for task, _ in labels) for t in plan.items}
    return {t: n for t, n in counts.items() if n}


def _as_stored(live: Live, labels: Mapping[Place, str]) -> Live:
    """The same answers with nothing but the labels they came with: what the official functions
    have, as long as none of their judges is called. Where one would be, a task has no labels."""
    stored = Live(live.model, live.items)
    for (task, model), responses in live.answers.items():
        if TASKS[task].answers_of:
            continue
        bare = [replace(r, judge=None, number_recorded=None) for r in responses]
        full = [replace(r, judge=labels.get((r.task, r.number))) for r in bare]
        parser = TASKS[task].parser_for(Rule.TOOLKIT)
        items = {i.number: i for i in live.items[task]}
        lacks = parser and any(parser(items[r.number], r).status is Status.UNLABELLED for r in full)
        stored.answers[task, model] = bare if lacks else full
    return stored


def _count(live: Live, given: OfficialAnswers, kept: Mapping[str, int]) -> None:
    """Null answers and kept labels, into each task's line of counts; who judged, into `judges`."""
    for line in live.counts:
        task = line["task"]
        line["null"] = sum(t is None for (name, _), t in given.texts.items() if name == task)
        line["answers"] -= line["null"]
        line["labels_kept"] = kept.get(task, 0)
    for task, n in kept.items():
        rest = sum(r.text is not None for r in live.answers[task, live.model]) - n
        ours = f"; {rest} answers by {live.judges[task]}" if rest else ""
        live.judges[task] = f"{n} labels of {LONGFORMER} kept{ours}"


def _notes(given: OfficialAnswers, plan: Plan, kept: Mapping[str, int]) -> list[str]:
    """What a reader should know of the answers, without any of their text."""
    missing = len(plan.asked) - sum(a.key in {_key(p) for p in given.texts} for a in plan.asked)
    lines = [
        f"{given.total('rows'):,} rows in {len(given.files)} files ({', '.join(given.layouts)}): "
        f"{given.total('answers'):,} answers, {given.total('null')} null, "
        f"{given.total('empty')} empty; {missing} items without a row that answers them"
    ]
    if unmatched := given.total("unmatched"):
        lines.append(f"{unmatched} rows meet no item of the benchmark; listed in answers.json")
    if repeated := given.total("repeated"):
        lines.append(
            f"{repeated} rows repeat a prompt whose items earlier rows answer; the earlier "
            "ones count, listed in answers.json"
        )
    if given.ignored:
        lines.append(f"{len(given.ignored)} other JSON files were not read: {given.ignored[0]} ...")
    if kept:
        lines.append(
            f"{sum(kept.values()):,} labels of the paper's refusal judge are kept; give --judge "
            "refusal=... for another one"
        )
    return lines


def _write_facts(
    job: GivenJob,
    benchmark: Benchmark,
    given: OfficialAnswers,
    live: Live,
    kept: Mapping[str, int],
) -> None:
    # Names only: paths of this machine are nobody's business.
    settings = asdict(job) | {
        "answers": job.answers.name, "benchmark": Path(job.benchmark).name, "out": job.out.name,
        "model": given.model,
    }  # fmt: skip
    facts = provenance({"benchmark": benchmark.digest, "answers": given.digest}, settings)
    facts["model"] = {"name": given.model, "answers": "made by the trustllm package"}
    facts["judges"], facts["kept_labels"] = live.judges, dict(kept)
    write_json(job.out / "provenance.json", facts)
    write_json(job.out / "answers.json", _listed(given))


def _listed(given: OfficialAnswers) -> dict[str, Any]:
    """Counts per file, and how the package asked where its run.json says it."""
    asked = ("limit", "temperatures", "max_new_tokens")
    return {
        "layouts": list(given.layouts),
        "files": {p: asdict(c) for p, c in given.files.items()},
        "ignored_files": given.ignored,
        "asked": {p: {k: s[k] for k in asked if k in s} for p, s in given.settings.items()},
    }
