"""`evaluate`: one model through the benchmark, from questions to tables; or, with --answers, a
model whose answers the official package has made already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from trustllm_repro.data.benchmark import MINIATURE, Benchmark, load_benchmark
from trustllm_repro.data.published import LATER, MODELS, published
from trustllm_repro.data.recorded import OfficialAnswers, Place, load_answers
from trustllm_repro.data.registry import find_benchmark
from trustllm_repro.errors import SettingsError
from trustllm_repro.evaluation import generate
from trustllm_repro.evaluation.judging import JudgeChoice, LiveAnswers, add_likelihoods, judged
from trustllm_repro.metrics.judge_error import JudgeError
from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.models.find import find_model
from trustllm_repro.progress import PrintedNotes, Progress
from trustllm_repro.schema import Rule, Status
from trustllm_repro.scoring import results
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.run import EvaluatedModel, Run
from trustllm_repro.store.atomic import JsonLines, write_json
from trustllm_repro.store.provenance import provenance
from trustllm_repro.tasks import COLUMNS, TASKS

THIS_RUN = "this run"  # marks a row whose model has the name of a published one


def evaluate(
    config: generate.EvaluationConfig, progress: Progress = PrintedNotes()
) -> EvaluatedModel:
    """Ask, judge, score, write. What is in the run folder already is not asked again, and stays
    whatever fails: a source, the model, a worker, or `out` with another model's run."""
    judges = JudgeChoice(config.judges)
    benchmark = load_benchmark(config.benchmark, verify=config.verify)
    progress.step("loading the model", 0, 1)
    model = find_model(
        config.model, dtype=config.dtype, device=config.device, batch_size=config.batch_size,
        system=config.settings.system, sampling=config.settings.sampling,
    )  # fmt: skip
    progress.step("loading the model", 1, 1)
    check_out(config.out, model.name, model.identity.get("weights"))
    plan = generate.make_plan(model, benchmark, config.settings)
    store = generate.ResponseStore(config.out, model.name)
    scores = generate.LikelihoodStore(config.out, model.name)
    store.lines.append([])  # an unwritable folder shows before hours of work
    cost = generate.answer(config, model, plan, store, scores, progress)
    made = f"{cost.answers:,} answers made, {cost.new_tokens:,} tokens in {cost.seconds:.0f} s"
    progress.note(made if cost.answers else "all answers were there; the model was not asked")
    miniature = benchmark.path == MINIATURE
    live = judged(row_name(model.name, miniature), plan, store.load(), judges, progress)
    if plan.choices:
        try:  # workers have done their share of it already
            generate.score(model, plan, scores, progress)
            row = row_name(model.name, miniature, likelihood=True)
            add_likelihoods(live, row, plan.choices, scores.load())
        except SettingsError as e:
            progress.note(f"no reading by likelihood: {e}")
    # Names only: paths would tell about this machine.
    names = {"out": config.out.name, "benchmark": Path(config.benchmark).name}
    settings = asdict(replace(config, model=model.name)) | names
    facts = provenance({"benchmark": benchmark.digest}, settings) | {
        "dtype": model.identity.get("dtype", config.dtype),
        "model": {"name": model.name, **model.identity},
        "generation": _all_costs(config.out, cost),
    }
    return write_run(config.out, live, judges.measured, facts)


def _all_costs(out: Path, cost: generate.GenerationCost) -> dict[str, float]:
    """What a run has cost over every time it was started, this one included."""
    sittings = JsonLines(out / "sittings.jsonl")
    sittings.append([asdict(cost)] if cost.answers else [])
    kept = list(sittings.read())
    return {"sittings": len(kept)} | {n: sum(s.get(n, 0) for s in kept) for n in asdict(cost)}


def evaluate_model(
    model: str,
    run: Run,
    *,
    benchmark: str = "",
    limit: int = 0,
    max_new_tokens: int = 128,
    dtype: str = "auto",
    workers: int = 0,
) -> EvaluatedModel:
    """Ask, judge and score a model; the result lies in `<run>/live/<model>`.

    What was answered before is not asked again. `evaluate --help` has all settings.

    Args:
        model: hub id, folder, GGUF file, endpoint, or the name of a model a package brings.
        benchmark: ZIP or folder; "miniature" for a demonstration; empty: look for it, else the
            miniature.
        limit: about so many items a task; 0: all. max_new_tokens: of an answer; the paper: 512.
        dtype: auto, float32, bfloat16 or float16. workers: processes; 0: what fits this machine.

    Returns:
        `cells` (scores), `counts()` (what became of the requests, a line a task), `answers(task)`,
        `facts` (provenance: weights, settings, answers made, tokens, seconds).

    Raises:
        SourceMissing: the model or the benchmark is not on this machine.
        ReproError: a source is malformed, or a worker died; what was answered stays.
    """
    found = None if benchmark == MINIATURE else find_benchmark(benchmark)
    # A folder for each: answers to the miniature must not look like results.
    name = generate.file_name(Path(model).name) + ("" if found else f"-{MINIATURE}")
    settings = generate.Settings(limit=limit or None, max_new_tokens=max_new_tokens)
    out = run.path / "live" / name
    return evaluate(
        generate.EvaluationConfig(
            model, str(found or MINIATURE), out, settings, dtype, workers=workers
        )
    )


def check_out(out: Path, name: str, weights: str | None = None) -> None:
    """Refuse a folder whose provenance.json names no model, another one, or other weights: its
    tables would stay there among new ones. The same model may go on with other settings."""
    facts = EvaluatedModel(out).facts
    model = facts.get("model")
    held = model if isinstance(model, dict) else {}
    if not facts or (held.get("name"), held.get("weights")) == (name, weights):
        return
    whose = repr(held["name"]) if held.get("name") else "no single model"
    if held.get("name") == name:
        whose = f"another {name!r} (of other weights, or with answers from elsewhere)"
    raise SettingsError(
        f"{out} holds the run of {whose}, and its tables would mix with those of {name!r}",
        remedy="give another --out, one for each model, or remove that folder",
    )


@cache
def _taken() -> set[str]:
    """Rows of published and of recorded models."""
    return {*MODELS, *LATER, *Ledger.load(results.committed_ledger()).models}


def row_name(model: str, miniature: bool = False, likelihood: bool = False) -> str:
    """A model's row: what is no result of the benchmark, or no generated answer, says so, and so
    does a model with the name of a published or recorded row."""
    marks = [MINIATURE] * miniature + ["likelihood"] * likelihood
    marks = marks or [THIS_RUN] * (model in _taken())
    return f"{model} ({', '.join(marks)})" if marks else model


def write_run(
    out: Path,
    live: LiveAnswers,
    measured: results.Errors,
    facts: dict[str, Any],
    official: Ledger | None = None,
) -> EvaluatedModel:
    """Ledger, cells, tables, counts and provenance of a live model; in cells and tables the
    recorded models stand beside it, under the same rules.

    Args:
        measured: from a task to the measured errors of the judge that labelled its answers.
        facts: what provenance.json says beside the judges.
        official: the same answers under the toolkit's rule, for rows of both.
    """
    rules = [Rule.CORRECTED]
    ledger = Ledger.of(live, rules=rules)
    mine = results.score_cells(ledger, published(), rules, measured)
    if official is not None:
        theirs = results.score_cells(official, published(), [Rule.TOOLKIT])
        mine = pd.concat([mine, theirs], ignore_index=True)
        ledger, rules = ledger.joined(official), [*rules, Rule.TOOLKIT]
    ledger.save(out)
    mine = mine[mine["model"].isin(ledger.models)]
    others = results.read_cells(results.committed_ledger())
    others = others[others["table"].isin(set(mine["table"])) & others["rule"].isin(rules)]
    cells = pd.concat([others, mine], ignore_index=True)
    cells = cells.sort_values("table", kind="stable", ignore_index=True)
    results.write_cells(cells, out)
    results.write_tables(cells, out / "tables", rule=Rule.CORRECTED)
    results.write_csv(out / "answers.csv", pd.DataFrame(live.counts))
    write_json(out / "provenance.json", facts | {"judges": live.judges})
    return EvaluatedModel(out)


def headline(run: Run) -> pd.DataFrame:
    """The model's cells of the leaderboards and of tables nobody published, a row a cell and rule.

    Columns: table, model, column, better ("higher" or "lower"), rule, value, ci_low, ci_high,
    judge_corrected, n, n_unparsed, and the lowest and highest published value.
    """
    where, cells = ["table", "column"], results.read_cells(run.path)
    known = cells.groupby(where)["published"].agg(lowest="min", highest="max")
    boards = cells["table"].str.startswith("leaderboard")
    top = boards | ~cells["table"].isin(list(published().tables))
    better = {(c.table, c.column): c.better for _, c in COLUMNS}
    cells["better"] = [better[w] for w in zip(cells["table"], cells["column"], strict=True)]
    shown = [
        "table", "model", "column", "better", "rule", "value", "ci_low", "ci_high",
        "judge_corrected", "n", "n_unparsed",
    ]  # fmt: skip
    return cells[top & cells["model"].isin(run.ledger.models)][shown].join(known, on=where)


# --- answers that the official package has made already

LONGFORMER = "LibrAI/longformer-harmful-ro"  # the paper's judge of refusals


def evaluate_answers(
    answers: Path, config: generate.EvaluationConfig, progress: Progress = PrintedNotes()
) -> EvaluatedModel:
    """Read, judge, score, write; no model is asked. `config.model`: whose answers, if there are
    several models', or the name of the row.

    Two rules read the answers: `corrected`, by this package's judges (the paper's refusal labels
    are kept, unless another judge is asked for), and `toolkit`, as far as the answers allow it.
    """
    choice, dimensions = JudgeChoice(config.judges), config.settings.dimensions
    questions = load_benchmark(config.benchmark, verify=config.verify)
    given = load_answers(answers, questions, str(config.model))
    check_out(config.out, given.model)
    plan = _plan(questions, given, dimensions)
    row = row_name(given.model, miniature=questions.path == MINIATURE)
    labels = {} if "refusal" in choice.replaced else given.labels
    kept = dict(Counter(task for task, _ in labels if task in plan.items))

    def measured(task: str) -> JudgeError | None:
        return None if task in kept else choice.measured(task)

    texts = {f"{task} {number}": text for (task, number), text in given.texts.items()}
    said = {key: Completion(text, Finish.STOP, 0, 0) for key, text in texts.items()}
    live = judged(row, plan, said, choice, progress, labels)
    _count(live, given, kept)
    # Names only: paths would tell about this machine.
    settings = {
        "answers": answers.name, "benchmark": Path(config.benchmark).name, "out": config.out.name,
        "dimensions": dimensions, "model": given.model, "model_name": config.model,
        "verify": config.verify, "judges": config.judges,
    }  # fmt: skip
    sources = {"benchmark": questions.digest, "answers": given.digest}
    facts = provenance(sources, settings) | {
        "model": {"name": given.model, "answers": "made by the trustllm package"},
        "kept_labels": kept,
    }
    official = Ledger.of(_as_stored(live, given.labels), rules=(Rule.TOOLKIT,))
    run = write_run(config.out, live, measured, facts, official)
    write_json(config.out / "answers.json", _listed(given))
    counts = ("rows", "answers", "null", "empty", "without_res", "unmatched", "repeated")
    missing = len({a.key for a in plan.asked} - texts.keys())
    progress.note(
        ", ".join(f"{n}: {given.total(n):,}" for n in counts)
        + f", labels kept: {sum(kept.values()):,}, items without a row: {missing:,}, JSON files not "
        f"read: {len(given.ignored):,}; listed in answers.json and answers.csv"
    )
    return run


def _plan(benchmark: Benchmark, given: OfficialAnswers, dimensions: Sequence[str]) -> generate.Plan:
    """All items of the tasks whose files are there, as if they were asked."""
    there = [t for t in TASKS.values() if t.live and t.file in given.names]
    chosen = [t for t in there if not dimensions or t.dimension in dimensions]
    if not chosen:
        raise SettingsError(
            f"no answers in {', '.join(dimensions)}",
            remedy=f"there are answers to {', '.join(sorted(given.names))}",
        )
    items = {t.id: t.items(benchmark[t.file or ""]) for t in chosen}
    places = [(t.id, i.number) for t in chosen if not t.answers_of for i in items[t.id]]
    return generate.Plan(items, [generate.Asked(t, n, 0, f"{t} {n}") for t, n in places])


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


def _listed(given: OfficialAnswers) -> dict[str, Any]:
    """Which files were read, what became of their rows, and how the official package asked."""
    asked = ("limit", "temperatures", "max_new_tokens")  # by its run.json
    return {
        "layouts": list(given.layouts),
        "files": given.files,
        "ignored_files": given.ignored,
        "asked": {p: {k: s[k] for k in asked if k in s} for p, s in given.settings.items()},
    }
