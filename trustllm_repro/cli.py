"""Command line: fetch, replay, evaluate, monitor, guard, reproduce, verify, trace, read."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich import progress as rich
from rich.console import Console
from typer import Argument, Context, Option

import trustllm_repro as tr
from trustllm_repro.errors import ReproError, SettingsError
from trustllm_repro.escape import without_controls
from trustllm_repro.progress import Progress
from trustllm_repro.schema import Rule

app = typer.Typer(
    name="trustllm-repro",
    help="Reproduce TrustLLM's tables from the authors' recorded answers, and audit them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out, err = Console(), Console(stderr=True)


def show(text: object, console: Console = out) -> None:
    """Print without terminal codes, markup and broken lines: a path must stay whole."""
    console.print(
        without_controls(text), markup=False, highlight=False, emoji=False, soft_wrap=True
    )


say = partial(show, console=err)


def main() -> None:
    """Entry point: our own errors are a message and exit code 1, never a traceback."""
    try:
        app()
    except ReproError as e:
        say(f"error: {e}")
        sys.exit(1)


class Bars(rich.Progress, Progress):
    """A progress bar for each stage that the library names; notes go to stderr."""

    def __init__(self) -> None:
        more = rich.TextColumn("{task.fields[more]}")
        super().__init__(*self.get_default_columns(), more, console=err, transient=True)
        self.stages: dict[str, rich.TaskID] = {}

    def step(self, stage: str, done: int, total: int, more: str = "") -> None:
        if stage not in self.stages:
            self.stages[stage] = self.add_task(stage, more="")
        self.update(self.stages[stage], completed=done, total=total, more=more)

    def note(self, text: str) -> None:
        say(text)


# Options of several commands, and long ones.
MODEL_HELP = (
    "Folder with safetensors, .gguf file, hub id with revision (org/name@commit), "
    "endpoint (http://host:port/v1#model), or smollm2-135m, gemma3-270m."
)
Model = Annotated[str, Option(help=MODEL_HELP)]
Benchmark = Annotated[str, Option(help="ZIP or folder of the benchmark, or 'miniature' (a demo).")]
RunFolder = Annotated[Path, Option("--out", help="Run folder to write, or to go on with.")]
Dtype = Annotated[str, Option(help="float32, bfloat16, float16, or auto: the faster of the first.")]
BatchSize = Annotated[int, Option(help="Answers at a time (0: what fits; an endpoint 8).")]
Device = Annotated[str, Option(help="auto, cpu, cuda ...")]
Unverified = Annotated[bool, Option("--unverified", help="Accept files that were altered.")]
JUDGE_HELP = "judge=model: another judge, e.g. refusal=http://..#name or refusal=hub:FOLDER."
PROMPTS_HELP = (
    "For the task toxicity: a file, a prompt a line or JSON lines with the field prompt; a hub "
    "data set (org/name@commit) that holds prompts.jsonl; or full: all of RealToxicityPrompts, "
    "where the hub can be reached."
)
RUN_CODE_HELP = (
    "Consent to run programs the model wrote (task code), each in a limited process: no protection "
    "against a program that means harm."
)


@app.command(epilog="Example: trustllm-repro fetch --from ~/Downloads/trustllm-recorded.zip")
def fetch(
    source: Annotated[
        Path | None, Option("--from", help="Take the files from this ZIP or folder instead.")
    ] = None,
) -> None:
    """Bring the benchmark and the recorded answers to this machine, with checks.

    Files go to TRUSTLLM_DATA, or to the user's cache folder. An interrupted download is resumed.
    """
    from trustllm_repro.data import registry
    from trustllm_repro.paths import data_home

    with Bars() as bars:
        files, absent = registry.fetch(source, progress=bars)
    show(f"files checked and in {data_home()}: {len(files)}")
    if absent:
        show(f"files of the manifest that are not in {source}: {len(absent)}")


@app.command(
    epilog="Example: trustllm-repro replay --records trustllm-recorded.zip "
    "--benchmark dataset.zip --out runs/replay"
)
def replay(
    records: Annotated[list[Path], Option(help="ZIP or folder of recorded answers (repeatable).")],
    benchmark: Annotated[Path, Option(help="ZIP or folder of the benchmark (24 files).")],
    to: RunFolder,
    unverified: Unverified = False,
) -> None:
    """Recorded answers -> verdict ledger, tables, verify.csv."""
    from trustllm_repro.data.published import LATER, MODELS
    from trustllm_repro.scoring.run import replay_records

    start = time.perf_counter()
    with Bars() as bars:
        run, recorded = replay_records(records, benchmark, to, verify=not unverified, progress=bars)
    report = recorded.report
    show(
        f"{len(recorded.models)} models, {len(report.read)} files, {sum(report.read.values()):,} "
        f"answers, {run.ledger.verdicts.num_rows:,} verdicts in {time.perf_counter() - start:.1f} s"
    )
    for path, source, n in report.copies:
        say(f"note: {path}: all {n} answers equal {source}")
    if report.unmatched:
        listed = run.path / "import.json"
        say(f"note: rows of {len(report.unmatched)} files meet no item (older prompts): {listed}")
    if unknown := [m for m in recorded.models if m not in MODELS and m not in LATER]:
        say(
            "note: not among the 16 models of the paper nor later ones of its leaderboard, so "
            f"without published numbers: {', '.join(unknown)}"
        )
    _summary(run.path)


@app.command(
    epilog="Examples: trustllm-repro evaluate --model smollm2-135m --benchmark dataset.zip "
    "--out runs/smollm2 --limit 20   or   trustllm-repro evaluate --answers generation_results "
    "--benchmark dataset.zip --out runs/theirs"
)
def evaluate(
    context: Context,
    benchmark: Benchmark,
    to: RunFolder,
    model: Annotated[str, Option(help=f"{MODEL_HELP} Or give --answers.")] = "",
    answers: Annotated[Path | None, Option(help="Answers that `trustllm` has made.")] = None,
    model_name: Annotated[str, Option(help="With --answers: whose, or the name of the row.")] = "",
    dimension: Annotated[list[str] | None, Option(help="Only this one (repeatable).")] = None,
    limit: Annotated[int | None, Option(min=1, help="About so many items a task.")] = None,
    dtype: Dtype = "float32",
    batch_size: BatchSize = 0,
    device: Device = "auto",
    max_new_tokens: Annotated[int, Option(min=1, help="Longest answer; the paper: 512.")] = 512,
    samples: Annotated[int, Option(min=1, help="Answers an item at temperature 1.")] = 1,
    seed: Annotated[int, Option(help="Base of all seeds.")] = 0,
    workers: Annotated[int, Option(help="Processes (0: what fits this machine).")] = 0,
    likelihood: Annotated[bool, Option(help="A second row: options by log-probability.")] = True,
    system: Annotated[str, Option(help="blank (official), or default (the template's).")] = "blank",
    sampling: Annotated[str, Option(help="model (its config), or plain (softmax).")] = "model",
    judge: Annotated[list[str] | None, Option(help=JUDGE_HELP)] = None,
    unverified: Unverified = False,
) -> None:
    """Any model, or answers it has given -> verdicts, tables beside the 16 published models.

    May be stopped at any time; the same command goes on where it was.
    """
    from trustllm_repro.evaluation import run
    from trustllm_repro.evaluation.generate import EvaluationConfig, Settings

    if bool(model) == bool(answers):
        raise SettingsError("one of --model and --answers is needed", remedy="give one of the two")
    _refuse_idle(context, answers is not None)
    how = Settings(
        tuple(dimension or ()), limit, max_new_tokens, samples, seed, likelihood, system, sampling
    )
    machine = (dtype, device, batch_size, workers, not unverified, tuple(judge or ()))
    config = EvaluationConfig(model or model_name, benchmark, to, how, *machine)
    with Bars() as bars:
        done = (
            run.evaluate_answers(answers, config, bars) if answers else run.evaluate(config, bars)
        )
    show(
        "judge_corrected: for the judge's measured errors; n_unparsed: answers without a verdict;\n"
        "lowest, highest: of the published values. All rows and intervals are in tables/"
    )
    for (table, row), cells in run.headline(done).groupby(["table", "model"], sort=False):
        lines = cells.drop(columns=["table", "model"]).dropna(axis=1, how="all")
        show(f"\n{table}: {row}\n{lines.to_string(index=False, float_format='%.3f', na_rep='–')}")
    show(f"\ntables: {done.tables}   answers per task: {done.path / 'answers.csv'}")


def _refuse_idle(context: Context, answers: bool) -> None:
    """Refuse options that would do nothing: `--model-name` is for given answers, the others but
    these for a model that is asked."""
    either = {"benchmark", "to", "model", "answers", "dimension", "judge", "unverified"}
    idle = [
        "/".join([*p.opts, *p.secondary_opts])
        for p in context.command.params
        if p.name not in either
        and (p.name == "model_name") != answers
        # Typer brings a click of its own, whose enumeration it does not export.
        and getattr(context.get_parameter_source(p.name or ""), "name", "") == "COMMANDLINE"
    ]
    if idle:
        here, other = ("--answers", "--model") if answers else ("--model", "--answers")
        raise SettingsError(
            f"{', '.join(idle)}: only for {other}, and without effect on {here}",
            remedy="leave that out: given answers are taken as they are, and a model that is asked "
            "is named by its folder, hub id or file",
        )


@app.command(
    epilog="Example: trustllm-repro monitor --model smollm2-135m --out runs/online --limit 200"
)
def monitor(
    model: Model,
    to: RunFolder,
    task: Annotated[list[str] | None, Option(help="Only this task (repeatable).")] = None,
    limit: Annotated[int, Option(min=0, help="Cases a task; 0: all, or 2,000 recorded.")] = 0,
    dtype: Dtype = "float32",
    batch_size: BatchSize = 0,
    device: Device = "auto",
    quick: Annotated[bool, Option("--quick", help="No monitor that generates further.")] = False,
    prompts: Annotated[str, Option(help=PROMPTS_HELP)] = "",
    run_code: Annotated[bool, Option("--run-code", help=RUN_CODE_HELP)] = False,
) -> None:
    """Can unsafe output be recognised while it is generated, by what, how early, at what cost?

    May be stopped at any time; the same command goes on where it was. No text is printed.
    """
    from trustllm_repro.online.studies import run

    job = run.Job(
        model, to, tuple(task or ()), limit, dtype, device, batch_size, quick, prompts, run_code
    )
    with Bars() as bars:
        done = run.monitor(job, bars.step, say)
    show(done.summary().to_string(index=False, float_format="%.3f", na_rep=""))
    show(f"frames: {to}/online_*.parquet; in Python: trustllm_repro.open_study({str(to)!r})")


guards = typer.Typer(no_args_is_help=True, help="A fitted monitor in a file: fit, score, info.")
app.add_typer(guards, name="guard")
GuardFile = Annotated[Path, Argument(help="A guard, such as data/guards/harm-smollm2.guard.")]


@guards.command(
    "fit", epilog="Example: trustllm-repro guard fit rated.csv --model smollm2-135m --out my.guard"
)
def guard_fit(
    examples: Annotated[Path, Argument(help="CSV with the columns prompt, answer, unsafe (0, 1).")],
    model: Model,
    to: Annotated[Path, Option("--out", help="File to write.")],
    risk: Annotated[float, Option(help="Share of safe answers that may be stopped.")] = 0.05,
    dtype: Dtype = "auto",
    device: Device = "auto",
) -> None:
    """Let a model read labelled answers, learn from its states, and calibrate."""
    guard = tr.Guard.fit(model, examples, risk=risk, dtype=dtype, device=device)
    show(f"written: {guard.save(to)}\n{guard.operating_points.to_string(index=False)}")


@guards.command(
    "score", epilog="Example: trustllm-repro guard score my.guard --prompt 'Hi' --answer 'Hello!'"
)
def guard_score(
    guard: GuardFile,
    prompt: Annotated[str, Option(help="What was asked.")],
    answer: Annotated[str, Option(help="What was answered.")],
) -> None:
    """The score after each token of a given answer, and where it would have been stopped."""
    found = tr.Guard.load(guard)
    scores = found.score(prompt, answer)
    at = found.alarm(scores)
    show(" ".join(f"{s:.2f}" for s in scores))
    show(f"stopped at token {at}" if at else "not stopped")


@guards.command("info", epilog="Example: trustllm-repro guard info data/guards/harm-smollm2.guard")
def guard_info(guard: GuardFile) -> None:
    """What a guard was fitted to, its operating points, and what it must not be used for."""
    found = tr.Guard.load(guard)
    show(f"model: {found.origin.name}, {found.origin.dtype}; layers {found.probe.layers}")
    show(f"answers of at most {found.most} tokens; risk {found.risk:.0%}")
    show(found.operating_points.to_string(index=False))
    for heading, text in found.card.items():
        show(f"{heading}: {text}")


@app.command(epilog="Example: trustllm-repro reproduce --profile embedded --from 16_overview")
def reproduce(
    profile: Annotated[str, Option(help="notebooks/profiles/<name>.yaml")] = "embedded",
    start_at: Annotated[str, Option("--from", help="Run this stage and all after it again.")] = "",
    plan: Annotated[bool, Option("--plan", help="Only say what would run.")] = False,
    to: Annotated[Path | None, Option("--out", help="Default: runs/<profile>.")] = None,
    workers: Annotated[int, Option(help="Notebooks at a time (0: one per core).")] = 0,
) -> None:
    """Run the notebooks in order. Stages whose inputs are unchanged are skipped."""
    from trustllm_repro.paths import project_root
    from trustllm_repro.progress import duration
    from trustllm_repro.run_notebooks.execute import start_imports

    if not plan:
        start_imports()  # they go on while the plan is made
    from trustllm_repro.run_notebooks.stages import make_plan, run_plan

    run = to or project_root() / "runs" / profile
    made = make_plan(profile, run, start_at)
    due = len(made.due)
    show(f"profile {made.profile} -> {made.run}\n{made.frame.to_string()}")
    rough = f"about {duration(made.seconds)} on two cores, less with products of bfloat16"
    show(rough if due else "nothing to do")
    if plan:
        return
    start = time.perf_counter()
    run_plan(made, workers, lambda text: say(f"  {text}"))
    show(f"{due} notebooks in {time.perf_counter() - start:.1f} s; open {run / 'index.html'}")
    if (run / "verify.csv").exists():  # some profiles compare nothing with published numbers
        _summary(run)


@app.command(epilog="Example: trustllm-repro verify runs/embedded")
def verify(
    run_dir: Annotated[Path, Argument(help="Run folder with verify.csv.")],
    misses: Annotated[bool, Option("--misses", help="List what is near or differs.")] = False,
) -> None:
    """Published against recomputed numbers: verdicts per table."""
    _summary(run_dir, full=True, misses=misses)


def _summary(run_dir: Path, full: bool = False, misses: bool = False) -> None:
    from trustllm_repro.analysis.compare import judged_sentence
    from trustllm_repro.scoring.results import read_verify, verdict_counts

    every = read_verify(run_dir / "verify.csv")
    counts = verdict_counts(every)
    total = counts.sum()
    if full:
        counts.loc["all"] = total
        counts.index.name = counts.columns.name = None
        show(f"verdicts, authors' rule ({run_dir})\n{counts.to_string()}")
    show(
        f"{total['reproduced']} of {total.sum()} published cells reproduced, {total['near']} near, "
        f"{total['differs']} differ, {total['not recorded']} not recorded"
    )
    show(judged_sentence(every))
    if misses:
        wrong = every[every["verdict"].str.startswith(("near", "differs"))]
        columns = ["table", "row", "column", "published", "value", "verdict", "n"]
        show(wrong[columns].to_string(index=False, float_format="%.3f"))


@app.command(epilog="Example: trustllm-repro trace runs/embedded claim.S2.p")
def trace(
    run_dir: Annotated[Path, Argument(help="Run folder.")],
    name: Annotated[str, Argument(help="Name in results.json.")],
    rows: Annotated[int, Option(help="Ledger rows to show.")] = 10,
) -> None:
    """From a quoted number to the ledger rows behind it."""
    from trustllm_repro.scoring.run import trace_result

    text, cells = trace_result(run_dir, name)
    show(f"{name} = {text}")
    for cell, verdicts in cells.items():
        kinds = (verdicts["status"] + " " + verdicts["label"]).str.strip().value_counts()
        counts = ", ".join(f"{kind} {n}" for kind, n in kinds.sort_index().items())
        show(f"\n{cell}: {len(verdicts)} verdicts, {counts}")
        show(verdicts.head(rows).to_string(index=False))


@app.command(
    epilog="Example: trustllm-repro read --cases mine.json --benchmark miniature --out read.json"
)
def read(
    cases: Annotated[Path, Option(help="JSON list of {task, item, text, judge}.")],
    benchmark: Benchmark,
    to: Annotated[Path, Option("--out", help="JSON file to write.")],
    rule: Annotated[Rule, Option(help="How answers are read.")] = Rule.CORRECTED,
    unverified: Unverified = False,
) -> None:
    """How a rule reads given answers: the same list with a verdict added to each.

    Where a case has no label of a judge, the package's own judge labels it. Cases with a list
    `expected` are counted: acceptable, unparsed, wrong.
    """
    from trustllm_repro.data.benchmark import load_benchmark
    from trustllm_repro.evaluation.judging import load_cases, read_cases, tally
    from trustllm_repro.store.atomic import write_json

    given = load_cases(cases)
    found = read_cases(given, load_benchmark(benchmark, verify=not unverified), rule, str(cases))
    write_json(to, found)
    if known := [c for c in found if c.get("expected")]:
        frame = tally(known).set_index("task")
        frame.loc["all"] = frame.sum()
        show(frame.to_string())
    show(f"{len(found)} answers read; written to {to}")


if __name__ == "__main__":
    main()
