"""`evaluate --answers`: the row of a model whose answers the official package has made already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from trustllm_repro.data.benchmark import MINIATURE, Benchmark, load_benchmark
from trustllm_repro.data.official_answers import OfficialAnswers, Place, load_answers
from trustllm_repro.errors import SettingsError
from trustllm_repro.evaluation.generate import GenerationCost
from trustllm_repro.evaluation.judging import JudgeChoice, LiveAnswers, judged
from trustllm_repro.evaluation.plan import Asked, Plan, Settings
from trustllm_repro.evaluation.run import Evaluation, check_out, row_name, write_run
from trustllm_repro.metrics.judge_error import JudgeError
from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.progress import PrintedNotes, Progress
from trustllm_repro.schema import Rule, Status
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance
from trustllm_repro.tasks import TASKS

LONGFORMER = "LibrAI/longformer-harmful-ro"  # the paper's judge of refusals


def evaluate_answers(
    answers: Path,
    benchmark: str,
    out: Path,
    *,
    dimensions: tuple[str, ...] = (),
    model_name: str = "",
    verify: bool = True,
    judges: tuple[str, ...] = (),
    progress: Progress = PrintedNotes(),
) -> Evaluation:
    """Read, judge, score, write; no model is asked. For the arguments see `evaluate --help`.

    Two rules read the answers: `corrected`, by this package's judges (the paper's refusal labels
    are kept, unless another judge is asked for), and `toolkit`, as far as the answers allow it.
    """
    choice = JudgeChoice(judges)
    Settings(dimensions)  # an unknown dimension is refused before anything is read
    questions = load_benchmark(benchmark, verify=verify)
    given = load_answers(answers, questions, model_name)
    check_out(out, given.model)
    plan = _plan(questions, given, dimensions)
    row = row_name(given.model, miniature=questions.path == MINIATURE)
    labels = {} if "refusal" in choice.replaced else given.labels
    kept = dict(Counter(task for task, _ in labels if task in plan.items))

    def measured(task: str) -> JudgeError | None:
        return None if task in kept else choice.measured(task)

    said = {_key(p): Completion(t, Finish.STOP, 0, 0) for p, t in given.texts.items()}
    live = judged(row, plan, said, choice, progress, labels)
    _count(live, given, kept)
    official = Ledger.of(_as_stored(live, given.labels), rules=(Rule.TOOLKIT,))
    run = write_run(out, live, measured, official=official)
    # Names only: paths of this machine are nobody's business.
    settings = {
        "answers": answers.name, "benchmark": Path(benchmark).name, "out": out.name,
        "dimensions": dimensions, "model": given.model, "model_name": model_name,
        "verify": verify, "judges": judges,
    }  # fmt: skip
    facts = provenance({"benchmark": questions.digest, "answers": given.digest}, settings)
    facts["model"] = {"name": given.model, "answers": "made by the trustllm package"}
    facts["judges"], facts["kept_labels"] = live.judges, kept
    write_json(out / "provenance.json", facts)
    asked = ("limit", "temperatures", "max_new_tokens")  # how the package asked, by its run.json
    listed = {
        "layouts": list(given.layouts),
        "files": {p: asdict(c) for p, c in given.files.items()},
        "ignored_files": given.ignored,
        "asked": {p: {k: s[k] for k in asked if k in s} for p, s in given.settings.items()},
    }
    write_json(out / "answers.json", listed)
    for line in _notes(given, plan, kept):
        progress.note(line)
    return Evaluation(run, row, "", live, GenerationCost(), plan)


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
    return Plan(items, [Asked(*p, 0, _key(p)) for p in places])


def _as_stored(live: LiveAnswers, labels: Mapping[Place, str]) -> LiveAnswers:
    """The same answers with nothing but the labels they came with: what the official functions
    have, as long as none of their judges is called. Where one would be, a task has no labels."""
    stored = LiveAnswers(live.model, live.items)
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


def _count(live: LiveAnswers, given: OfficialAnswers, kept: Mapping[str, int]) -> None:
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


def _notes(given: OfficialAnswers, plan: Plan, kept: Mapping[str, int]) -> Iterator[str]:
    """What a reader should know of the answers, without any of their text."""
    missing = len({a.key for a in plan.asked} - set(map(_key, given.texts)))
    yield (
        f"{given.total('rows'):,} rows in {len(given.files)} files ({', '.join(given.layouts)}): "
        f"{given.total('answers'):,} answers, {given.total('null')} null, "
        f"{given.total('empty')} empty; {missing} items without a row that answers them"
    )
    others = {
        "rows match no item": given.total("unmatched"),
        "rows repeat a prompt whose items earlier rows answer": given.total("repeated"),
        "JSON files were not read": len(given.ignored),
    }
    if any(others.values()):
        left = ", ".join(f"{n} {what}" for what, n in others.items() if n)
        yield f"{left}; listed in answers.json"
    if kept:
        yield (
            f"{sum(kept.values()):,} labels of the paper's refusal judge are kept; give --judge "
            "refusal=... for another one"
        )
