"""A run folder: what `replay` writes and what notebooks read; any metric on its answers, a shipped
one or one from a cell, and answers to tasks of one's own; and the rows behind a quoted number.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.data.published import published
from trustllm_repro.data.recorded import Recorded, load_recorded
from trustllm_repro.data.registry import find_benchmark, find_records, missing
from trustllm_repro.errors import ReproError, SettingsError
from trustllm_repro.metrics.base import Metric, absent_answers, has
from trustllm_repro.paths import data_dir
from trustllm_repro.progress import Progress
from trustllm_repro.schema import CONFIDENCE, OUR_JUDGE, Response, Rule, Score, Status
from trustllm_repro.scoring import results
from trustllm_repro.scoring.ledger import Ledger, with_our_labels
from trustllm_repro.store.atomic import read_object, write_json
from trustllm_repro.store.provenance import file_hash, provenance
from trustllm_repro.tasks import COLUMNS, TASKS
from trustllm_repro.tasks.base import Column, Row, Task

SCORE = ["value", "ci_low", "ci_high", "n", "n_unparsed", "n_missing", "reason"]
# What a cell may use as a metric: the answers of one model -> a number.
OnFrame = Callable[[pd.DataFrame], float]


def find_task(task: Task | str) -> Task:
    """A task by its id or its name within the dimension ("jailbreak"), or the task itself."""
    if isinstance(task, Task):
        return task
    found = [t for t in TASKS.values() if task in (t.id, t.id.split("/")[-1])]
    if len(found) != 1:
        raise SettingsError(f"no task {task!r}", remedy=f"one of: {', '.join(TASKS)}")
    return found[0]


def score(
    answers: pd.DataFrame,
    metric: Metric | OnFrame,
    by: str | Sequence[str] = "model",
    *,
    resamples: int = 199,
    seed: int = 0,
) -> pd.DataFrame:
    """A metric of every group of answers: the columns `by`, then `SCORE`.

    Args:
        answers: rows of `Run.answers` or `read_answers`, whole or filtered (then nobody knows how
            many answers are missing).
        metric: one of trustllm_repro.metrics, or any function from the answers of one group (a
            frame) to a number.
        by: column or columns that make the groups.
        resamples: draws over answers for the 95 % interval (percentile) of a function, which is
            called for each. Shipped metrics take 999 (BCa).
    """
    names = [by] if isinstance(by, str) else list(by)
    asked = answers.attrs.get("asked", 0) if names == ["model"] else 0
    lines = []
    for key, part in answers.groupby(names, sort=False):
        part.attrs["asked"] = max(asked, len(part))
        if isinstance(metric, Metric):
            found = metric.measure(part, seed)
        else:
            found = _of_function(part, metric, resamples, seed)
        lines.append([*key, *(getattr(found, n) for n in SCORE)])
    return pd.DataFrame(lines, columns=[*names, *SCORE])


def _of_function(part: pd.DataFrame, metric: OnFrame, resamples: int, seed: int) -> Score:
    value = float(metric(part))
    low = high = math.nan
    if resamples and len(part) > 1 and not math.isnan(value):
        rng = np.random.default_rng(seed)
        picks = rng.integers(0, len(part), (resamples, len(part)))
        draws = [float(metric(part.take(p))) for p in picks]
        tail = 50 * (1 - CONFIDENCE)
        low, high = np.nanpercentile(draws, [tail, 100 - tail])
    n, absent = int(has(part, Status.PARSED).sum()), absent_answers(part)
    reason = "the metric gives no number here" if math.isnan(value) else ""
    return Score(value, n, *absent, float(low), float(high), reason)


def read_answers(
    task: Task,
    rows: Sequence[Row],
    texts: Mapping[str, Sequence[str | None]],
    rule: Rule | str = "corrected",
    judge: Callable[[Sequence[str | None]], Sequence[str | None]] | None = None,
) -> pd.DataFrame:
    """Answers to a task, declared in a cell or shipped, as a frame like that of `Run.answers`.

    Args:
        rows: the questions, each with the fields the task names ("prompt" and what its gold,
            facets and parser need).
        texts: model -> its answers, one for each row in their order; None for one that is missing.
        judge: from texts to labels, for parsers that take a judge's label.

    Raises SettingsError: a model has not as many answers as there are rows.
    """
    items, parser = task.items(rows), task.parser_for(Rule(rule))
    parts = []
    for model, said in texts.items():
        if len(said) != len(items):
            raise SettingsError(
                f"{model}: {len(said)} answers to {len(items)} items",
                remedy="give one for each item, in their order; None where there is none",
            )
        labels = judge(said) if judge else [None] * len(said)
        for item, text, label in zip(items, said, labels, strict=True):
            verdict = parser(item, Response(task.id, model, item.number, text, judge=label))
            parts.append({
                "model": model, "item": item.number, "gold": item.gold,
                "status": str(verdict.status), "label": verdict.label or "",
                "number": verdict.number, "pair": item.pair,
                **dict(zip(task.facets, item.facets, strict=True)),
            })  # fmt: skip
    frame = pd.DataFrame(parts).astype({"number": float})
    frame.attrs["asked"] = len(items)
    return frame


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder: verdicts, scored cells, and where tables and figures go.

    A folder without verdicts shows the committed ones, so that any notebook runs alone.
    """

    path: Path

    @cached_property
    def home(self) -> Path:
        """Where the verdicts lie: the run folder, else the committed ledger."""
        own = any((self.path / n).exists() for n in ("ledger.parquet", results.CELLS))
        return self.path if own else results.committed_ledger()

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger.load(self.home)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Every published cell under every rule: the columns `scoring.results.FIELDS`."""
        return results.read_cells(self.home)

    def answers(
        self,
        task: Task | str,
        rule: Rule | str = "corrected",
        revisions: Sequence[str] = (),
    ) -> pd.DataFrame:
        """A row an answer, as a rule reads it; missing ones have no row.

        Columns: model, item (int), gold, status, label (str), number (float), pair (int), a column
        (str) a facet of the task, and file: the place the answer was stored in. `attrs["asked"]`:
        number of items. Of answers made more than once it takes the last of `revisions` (default:
        those the rule's published columns rest on).
        """
        task, rule = find_task(task), Rule(rule)
        revisions = revisions or (task.columns or [Column("", "")])[0].revisions(rule)
        found = self.ledger.answers(task.id, None, rule, revisions)
        words = [c for c in found if c not in ("item", "number", "pair")]
        return found.astype(dict.fromkeys(words, "str"))

    def evaluated(self, models: Sequence[str] = ()) -> list[EvaluatedModel]:
        """Models that answered themselves: those named, or all of this run and of data/live.

        A name may also be the path of a folder; one of this run hides a committed one.
        """
        homes = (data_dir() / "live", self.path / "live")
        known = {p.parent.name: p.parent for h in homes for p in sorted(h.glob("*/ledger.parquet"))}
        chosen = [known.get(name, Path(name).expanduser()) for name in models or known]
        for path in chosen:
            if not (path / "ledger.parquet").exists():
                raise SettingsError(
                    f"no evaluated model {str(path)!r}: neither in data/live nor in "
                    f"{self.path.name}/live, nor a folder",
                    remedy="run `trustllm-repro evaluate --model ... --out FOLDER` and name the "
                    f"folder; known: {', '.join(known) or 'none'}",
                )
        return [EvaluatedModel(path) for path in chosen]

    @property
    def tables(self) -> Path:
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        return self.path / "figures"


@dataclass(frozen=True, eq=False)
class EvaluatedModel(Run):
    """A model that answered itself: `data/live/<name>` (committed verdicts of whole runs), or
    `<run>/live/<name>`, as 05_live and `evaluate --out` leave it."""

    @cached_property
    def facts(self) -> dict[str, Any]:
        """provenance.json of the run; empty where it cannot be read."""
        return read_object(self.path / "provenance.json")

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Cells of the model's rows, corrected rule: answers generated, and options by likelihood."""
        every = results.read_cells(self.path)
        return every[every["model"].isin(self.ledger.models) & (every["rule"] == Rule.CORRECTED)]

    @cached_property
    def rows(self) -> list[str]:
        """Row names; that of the generated answers comes first."""
        found = list(dict.fromkeys(self.cells["model"]))
        return sorted(found, key=lambda n: ("likelihood" in n, n))

    @property
    def is_demonstration(self) -> bool:
        """Whether it answered the miniature, not the benchmark."""
        return any(MINIATURE in row for row in self.rows)

    def counts(self) -> pd.DataFrame:
        """What became of the requests, a line a task; empty where it was not kept."""
        path = self.path / "answers.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame()


def open_run(path: str | Path) -> Run:
    """The run folder at `path`, which need not exist: nothing is read before it is asked for.

    >>> run = open_run("runs/mine")
    >>> run.cells.query("table == 'safety_jailbreak' and rule == 'corrected'")
    >>> run.answers("jailbreak").groupby(["attack", "model"]).label.value_counts()
    """
    return Run(Path(path))


def replay(
    out: str | Path, source: str = "auto", records: str = "", benchmark: str = ""
) -> tuple[Run, str]:
    """Fill a run folder: ledger, scored cells, tables, verify.csv, results.json, provenance.json.

    Args:
        source: "records" reads the answers, "ledger" the committed verdicts, "auto" the answers if
            they are on this machine.
        records, benchmark: ZIP or folder; empty: look for them.

    Returns:
        the run, and "records" or "ledger": what was read.
    """
    if source not in ("auto", "ledger", "records"):
        raise SettingsError(f"no source {source!r}", remedy="one of: auto, ledger, records")
    answers, questions = find_records(records), find_benchmark(benchmark)
    if source != "ledger" and answers and questions:
        return replay_records(answers, questions, out)[0], "records"
    if source == "records":
        raise missing("recorded answers or benchmark", ("recorded", "dataset.zip"))
    return replay_ledger(out), "ledger"


def replay_ledger(out: str | Path, ledger: str | Path | None = None) -> Run:
    """Tables from a ledger that exists already (default: the committed one)."""
    folder, start = Path(ledger or results.committed_ledger()), time.perf_counter()
    loaded = Ledger.load(folder)
    # The committed verdicts come with their cells; a test scores them anew.
    cells = results.read_cells(folder) if ledger is None else None
    sources = {n: str(file_hash(folder / n)) for n in ("items.parquet", "ledger.parquet")}
    return _write(Path(out), loaded, provenance(sources, {"ledger": folder.name}), start, cells)


def replay_records(
    records: str | Path | Sequence[str | Path],
    benchmark: str | Path,
    out: str | Path,
    *,
    verify: bool = True,
    progress: Progress = Progress(),
) -> tuple[Run, Recorded]:
    """Recorded answers -> ledger -> tables. Nothing is written before all sources are valid."""
    start = time.perf_counter()
    questions = load_benchmark(benchmark, verify=verify)
    recorded = load_recorded(records, questions, verify=verify, progress=progress)
    ledger = with_our_labels(Ledger.of(recorded, progress), recorded)
    given = [records] if isinstance(records, str | Path) else records
    names = ", ".join(Path(r).name for r in given)
    facts = provenance(
        {"benchmark": questions.digest, "records": recorded.digest},
        {"records": names, "benchmark": Path(benchmark).name, "verify": verify},
    )
    progress.step("scoring cells", 0, 1)
    run = _write(Path(out), ledger, facts, start)
    # What the importer met, without any text of an answer.
    write_json(run.path / "import.json", {"models": recorded.models, **asdict(recorded.report)})
    progress.step("scoring cells", 1, 1)
    return run, recorded


def _write(
    out: Path,
    ledger: Ledger,
    facts: dict[str, Any],
    start: float,
    cells: pd.DataFrame | None = None,
) -> Run:
    """Score a ledger, unless its cells are given, and write everything a run folder holds."""
    times = [start, time.perf_counter()]
    cells = results.score_cells(ledger, published()) if cells is None else cells
    times.append(time.perf_counter())
    ledger.save(out)
    results.write_cells(cells, out)
    results.write_tables(cells, out / "tables")
    # Full precision: a checker compares `published` with the sheet and the verdict with the gap.
    results.write_csv(out / "verify.csv", results.verify_frame(cells), form=None)
    results.cell_results(cells).save(out)
    times.append(time.perf_counter())
    stages = zip(("read", "score", "write"), np.diff(times), strict=True)
    facts["seconds"] = {name: round(float(took), 2) for name, took in stages}
    write_json(out / "provenance.json", facts)
    return Run(out)


def trace_result(run_dir: Path, name: str) -> tuple[str, dict[str, pd.DataFrame]]:
    """Text of a quoted number, and the verdicts behind it: "table / model / column / rule" -> item,
    gold, status, label, number, pair, facets, file, edition and path (where the answer was stored).
    """
    entries = results.load(run_dir)
    if name not in entries:
        close = difflib.get_close_matches(name, entries, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
        raise ReproError(
            f"no result named {name!r} in {run_dir}", remedy=hint or "see the names in results.json"
        )
    run = Run(Path(run_dir))
    parts = (part for cell in entries[name]["cells"] for part in _parts(run, cell))
    return str(entries[name]["text"]), {title: rows for title, rows in parts if len(rows)}


def _parts(run: Run, cell: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """One part per model and rule; (table, column) stands for all recorded models."""
    table, *row, column = cell[:2] if len(cell) == 2 else cell[:3]
    word = cell[3] if len(cell) > 3 else Rule.AUTHORS if row else Rule.CORRECTED
    rule = Rule.AUTHORS if word == OUR_JUDGE else Rule(word)
    ledger = replace(run.ledger, ours=word == OUR_JUDGE)
    for task, declared in COLUMNS:
        if task is None or (declared.table, declared.column) != (table, column):
            continue
        if not row:  # all answers that the column rests on, whatever its rows are
            declared = replace(declared, pooled=None)
        made = ledger.rows(task.id, rule, declared.revisions(rule))
        made = made[["model", "item", "edition", "source"]].rename(columns={"source": "path"})
        for name in row or ledger.models:
            answers = results.Scorer(ledger).chosen(task, declared, name, rule)
            if answers.empty:
                none = answers.drop(columns="model").assign(edition="", path="")
                yield f"{table} / {name} / {column} / {word}", none
            for model, part in answers.merge(made, on=["model", "item"]).groupby("model"):
                yield f"{table} / {model} / {column} / {word}", part.drop(columns="model")
