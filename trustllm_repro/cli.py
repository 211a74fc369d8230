"""Command line: fetch, replay, evaluate, monitor, reproduce, verify, trace, read."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from trustllm_repro import __version__
from trustllm_repro import cli_options as options
from trustllm_repro.errors import ReproError, SettingsError
from trustllm_repro.escape import for_terminal
from trustllm_repro.schema import OUR_JUDGE, Rule

if TYPE_CHECKING:
    from trustllm_repro.run_notebooks.plan import Plan

app = typer.Typer(
    name="trustllm-repro",
    help="Reproduce TrustLLM's tables from the authors' recorded answers, and audit them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)


def say(message: str) -> None:
    """Print to stderr without breaking lines: a path must stay whole, to be copied or searched."""
    err.print(message, highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point: our own errors are a message and exit code 1, never a traceback."""
    try:
        app()
    except ReproError as e:
        say(f"[bold red]error:[/] {for_terminal(e)}")
        sys.exit(1)


def _version(value: bool) -> None:
    if value:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of all commands."""


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[more]}"), console=err, transient=True,
    )  # fmt: skip


class Bars:
    """One progress bar per named stage, as the callbacks of the library want it."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.tasks = progress, {}

    def __call__(self, stage: str, done: int, total: int, more: str = "") -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(stage, total=total, more="")
        self.progress.update(self.tasks[stage], completed=done, total=total, more=more)


@app.command(epilog="Example: trustllm-repro fetch --from ~/Downloads/trustllm-recorded.zip")
def fetch(
    source: Annotated[
        Path | None, typer.Option("--from", help="Take the files from this ZIP or folder instead.")
    ] = None,
    only: Annotated[str, typer.Option(help="Only files whose path contains this.")] = "",
) -> None:
    """Bring the benchmark and the recorded answers to this machine, with checks.

    Files go to TRUSTLLM_DATA, or to the user's cache folder. A broken-off download goes on.
    """
    from trustllm_repro.data import registry
    from trustllm_repro.paths import data_home

    with _progress() as bar:
        show = Bars(bar)
        if source is None:
            files = registry.fetch(only=only, progress=lambda d, t: show("fetching", d, t))
            absent: list[str] = []
        else:
            files, absent = registry.fetch_from(source, progress=lambda d, t: show("copying", d, t))
    out.print(f"files checked and in {for_terminal(data_home())}: {len(files)}")
    if absent:
        out.print(f"files of the manifest that are not in {for_terminal(source)}: {len(absent)}")


@app.command(
    epilog="Example: trustllm-repro replay --records trustllm-recorded.zip "
    "--benchmark dataset.zip --out runs/replay"
)
def replay(
    records: Annotated[
        list[Path],
        typer.Option(help="ZIP or folder of recorded answers; may be given several times."),
    ],
    benchmark: Annotated[Path, typer.Option(help="ZIP or folder of the benchmark (24 files).")],
    to: Annotated[Path, typer.Option("--out", help="Run folder to write.")],
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Accept files with another sha256 or row count.")
    ] = False,
) -> None:
    """Recorded answers -> verdict ledger, tables, verify.csv."""
    from trustllm_repro.scoring.results import cell_results
    from trustllm_repro.scoring.run import replay_records

    start = time.perf_counter()
    with _progress() as bar:
        run, recorded = replay_records(records, benchmark, to, verify=not unverified, say=Bars(bar))
    cell_results(run.cells).save(run.path)
    report = recorded.report
    out.print(
        f"{len(recorded.models)} models, {len(report.read)} files, {sum(report.read.values()):,} "
        f"answers, {run.ledger.verdicts.num_rows:,} verdicts in {time.perf_counter() - start:.1f} s"
    )
    for path, source, n in report.copies:
        say(f"[yellow]note:[/] {for_terminal(path)}: all {n} answers equal {for_terminal(source)}")
    if report.unmatched:
        say(
            f"[yellow]note:[/] {len(report.unmatched)} files hold rows that meet no item "
            f"(older prompts); listed in {for_terminal(run.path / 'import.json')}"
        )
    _unknown_models(recorded.models)
    _summary(run.path)


def _unknown_models(models: list[str]) -> None:
    from trustllm_repro.data.published import LATER, MODELS

    unknown = [m for m in models if m not in MODELS and m not in LATER]
    if unknown:
        say(
            f"[yellow]note:[/] not among the 16 models of the paper nor later ones of its "
            f"leaderboard, so without published numbers: "
            f"{for_terminal(', '.join(unknown))}"
        )


@app.command(
    epilog="Examples: trustllm-repro evaluate --model smollm2-135m --benchmark dataset.zip "
    "--out runs/smollm2 --limit 20   or   trustllm-repro evaluate --model ~/models/mine "
    "--benchmark miniature --out runs/try   or   trustllm-repro evaluate --answers "
    "generation_results --benchmark dataset.zip --out runs/theirs"
)
def evaluate(
    context: typer.Context,
    benchmark: options.BenchmarkOrMiniature,
    to: options.RunFolder,
    model: options.ModelToAsk = "",
    answers: options.Answers = None,
    model_name: options.ModelName = "",
    dimension: options.Dimensions = None,
    limit: options.Limit = None,
    dtype: options.Dtype = "float32",
    batch_size: options.BatchSize = 0,
    device: options.Device = "auto",
    max_new_tokens: options.MaxNewTokens = 512,
    samples: options.Samples = 1,
    seed: options.Seed = 0,
    workers: options.Workers = 0,
    likelihood: options.Likelihood = True,
    system: options.System = "blank",
    sampling: options.Sampling = "model",
    judge: options.Judges = None,
    part: options.Part = "1/1",
    unverified: options.Unverified = False,
) -> None:
    """Any model, or answers it has given -> verdicts, tables beside the 16 published models.

    May be stopped at any time; the same command goes on where it was.
    """
    from trustllm_repro.evaluation.answers import GivenJob, evaluate_answers
    from trustllm_repro.evaluation.plan import Settings, parse_part
    from trustllm_repro.evaluation.report import show_evaluation
    from trustllm_repro.evaluation.run import Job
    from trustllm_repro.evaluation.run import evaluate as run_job

    asked, judges = tuple(dimension or ()), tuple(judge or ())
    if bool(model) == bool(answers):
        raise SettingsError("one of --model and --answers is needed", remedy="give one of the two")
    options.refuse_idle(context, "--answers" if answers else "--model")
    if answers:
        work, job = evaluate_answers, GivenJob(
            answers, benchmark, to, asked, model_name, not unverified, judges
        )  # fmt: skip
    else:
        how = Settings(asked, limit, max_new_tokens, samples, seed, likelihood, system, sampling)
        work, job = run_job, Job(
            model, benchmark, to, how, dtype, device, batch_size, workers, not unverified, judges,
            parse_part(part),
        )  # fmt: skip
    with _progress() as bar:
        done = work(job, Bars(bar), lambda text: say(for_terminal(text)))
    show_evaluation(done, out)


@app.command(
    epilog="Examples: trustllm-repro monitor --model smollm2-135m --out runs/online --limit 200   "
    "or   trustllm-repro monitor --model ~/models/mine --out runs/online --task harm --quick"
)
def monitor(
    model: options.Model,
    to: options.RunFolder,
    task: options.Tasks = None,
    limit: options.CaseLimit = 0,
    dtype: options.Dtype = "float32",
    batch_size: options.BatchSize = 0,
    device: options.Device = "auto",
    quick: options.Quick = False,
    sheets: options.Sheets = None,
    prompts: options.Prompts = "",
    run_code: options.RunCode = False,
) -> None:
    """Can unsafe output be recognised while it is generated, by what, how early, at what cost?

    May be stopped at any time; the same command goes on where it was. No text is printed.
    """
    from trustllm_repro.online.report import show
    from trustllm_repro.online.run import Job
    from trustllm_repro.online.run import monitor as run_job

    asked = tuple(task or ())
    more = {"allowed": "one answer" if quick else "all", "sheets": sheets, "prompts": prompts}
    job = Job(model, to, asked, limit, dtype, device, batch_size, run_code=run_code, **more)
    with _progress() as bar:
        bars = Bars(bar)
        done = run_job(job, lambda w, d, n: bars(w, d, n, ""), lambda text: say(for_terminal(text)))
    show(done, out)


@app.command(epilog="Example: trustllm-repro reproduce --profile embedded --from 16_overview")
def reproduce(
    profile: Annotated[str, typer.Option(help="notebooks/profiles/<name>.yaml")] = "embedded",
    start_at: Annotated[
        str, typer.Option("--from", help="Run this stage and all after it again.")
    ] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would run.")] = False,
    to: Annotated[
        Path | None, typer.Option("--out", help="Run folder (default: runs/<profile>).")
    ] = None,
    workers: Annotated[int, typer.Option(help="Notebooks at a time (0: one per core).")] = 0,
) -> None:
    """Run the notebooks in order. Stages whose inputs are unchanged are skipped."""
    from trustllm_repro.paths import project_root
    from trustllm_repro.run_notebooks import kernel

    if not plan:
        kernel.start_imports()  # they go on while the plan is made
    from trustllm_repro.run_notebooks.plan import make_plan
    from trustllm_repro.run_notebooks.run import run_plan

    run = to or project_root() / "runs" / profile
    made = make_plan(profile, run, start_at)
    _show_plan(made)
    if plan:
        return
    start = time.perf_counter()
    run_plan(made, workers, lambda text: say(f"  {text}"))
    out.print(
        f"{len(made.due)} notebooks in {time.perf_counter() - start:.1f} s; "
        f"open {for_terminal(run / 'index.html')}",
        soft_wrap=True,
    )
    _summary(run)


def _show_plan(made: Plan) -> None:
    from trustllm_repro.evaluation.estimate import duration

    title = f"profile {made.profile} -> {for_terminal(made.run)}"
    table = Table("stage", "state", "why", "needs", title=title)
    for s in made.stages:
        state = "to run" if s.changed else "up to date"
        table.add_row(s.name, state, for_terminal(s.changed), ", ".join(s.needs))
    out.print(table)
    rough = f"about {duration(made.seconds)} on two cores, less with products of bfloat16"
    out.print(rough if made.due else "nothing to do")


@app.command(epilog="Example: trustllm-repro verify runs/embedded")
def verify(
    run_dir: Annotated[Path, typer.Argument(help="Run folder with verify.csv.")],
    misses: Annotated[bool, typer.Option("--misses", help="List what is near or differs.")] = False,
) -> None:
    """Published against recomputed numbers: verdicts per table."""
    _summary(run_dir, full=True, misses=misses)


def _summary(run_dir: Path, full: bool = False, misses: bool = False) -> None:
    from trustllm_repro.analysis.our_judge import judged_sentence
    from trustllm_repro.scoring.tables import read_verify

    path = run_dir / "verify.csv"
    every = read_verify(path)
    frame = every[every["rule"] != OUR_JUDGE]
    counts = frame.groupby(["table", "verdict"], sort=False).size().unstack(fill_value=0)
    names = ["reproduced", "near", "differs", "not recorded"]
    counts = counts.reindex(columns=names, fill_value=0)
    if full:
        table = Table(
            "published table", *names, title=f"verdicts, authors' rule ({for_terminal(run_dir)})"
        )
        for name, line in counts.iterrows():
            table.add_row(str(name), *(str(v) if v else "·" for v in line))
        table.add_section()
        table.add_row("all", *(str(v) for v in counts.sum()))
        out.print(table)
    total = counts.sum()
    out.print(
        f"{total['reproduced']} of {len(frame)} published cells reproduced, {total['near']} near, "
        f"{total['differs']} differ, {total['not recorded']} not recorded"
    )
    out.print(judged_sentence(every), highlight=False)
    if misses:
        wrong = every[every["verdict"].str.startswith(("near", "differs"))]
        table = Table("table", "row", "column", "published", "recomputed", "verdict", "n")
        for r in wrong.itertuples():
            table.add_row(
                for_terminal(r.table),
                for_terminal(r.row),
                for_terminal(r.column),
                f"{r.published:.3f}",
                f"{r.value:.3f}",
                r.verdict,
                str(r.n),
            )
        out.print(table)


@app.command(
    epilog="Example: trustllm-repro trace runs/embedded "
    '"truth_internal/gpt-4/CODAH/corrected"   or   trace runs/embedded claim.S2.p'
)
def trace(
    run_dir: Annotated[Path, typer.Argument(help="Run folder.")],
    name: Annotated[str, typer.Argument(help="Name in results.json.")],
    rows: Annotated[int, typer.Option(help="Ledger rows to show.")] = 10,
) -> None:
    """From a quoted number to the ledger rows behind it."""
    from trustllm_repro.analysis.trace import trace_result

    found = trace_result(run_dir, name)
    out.print(f"[bold]{for_terminal(name)}[/] = {for_terminal(found.text)}", highlight=False)
    for part in found.cells:
        out.print(
            f"\n{for_terminal(part.title)}: {len(part.rows)} verdicts, "
            + ", ".join(f"{for_terminal(k)} {v}" for k, v in part.counts.items()),
            highlight=False,
        )
        shown = part.rows.head(rows)
        table = Table(*shown.columns)
        for line in shown.itertuples(index=False):
            table.add_row(*(for_terminal(str(v)) for v in line))
        out.print(table)


@app.command(
    epilog="Example: trustllm-repro read --cases mine.json --benchmark miniature --out read.json"
)
def read(
    cases: Annotated[Path, typer.Option(help="JSON list of {task, item, text, judge}.")],
    benchmark: options.BenchmarkOrMiniature,
    to: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    rule: Annotated[Rule, typer.Option(help="How answers are read.")] = Rule.CORRECTED,
    unverified: options.Unverified = False,
) -> None:
    """How a rule reads given answers: the same list with a verdict added to each.

    Where a case has no label of a judge, the package's own judge labels it. Cases with a list
    `expected` are counted: read as expected, unread, wrong.
    """
    from trustllm_repro.data.benchmark import open_benchmark
    from trustllm_repro.evaluation.read import load_cases, read_cases, tally
    from trustllm_repro.store.atomic import write_json

    given = load_cases(cases)
    found = read_cases(given, open_benchmark(benchmark, verify=not unverified), rule, str(cases))
    write_json(to, found)
    known = [c for c in found if c.get("expected")]
    if known:
        table = Table("task", "n", "as expected", "unread", "wrong")
        frame = tally(known)
        for line in frame.itertuples(index=False):
            table.add_row(*map(str, line))
        table.add_section()
        table.add_row("all", *map(str, frame.drop(columns="task").sum()))
        out.print(table)
    out.print(f"{len(found)} answers read; written to {for_terminal(to)}")


if __name__ == "__main__":
    main()
