"""A run folder: what `replay` writes and what notebooks read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.data.published import published
from trustllm_repro.data.recorded import Recorded, load_recorded
from trustllm_repro.data.registry import find_benchmark, find_records, missing
from trustllm_repro.errors import SettingsError
from trustllm_repro.paths import data_dir
from trustllm_repro.progress import Progress
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.cells import (
    CELLS,
    committed_ledger,
    read_cells,
    score_cells,
    write_cells,
)
from trustllm_repro.scoring.frames import find_task
from trustllm_repro.scoring.ledger import ANSWER, Ledger, with_our_labels
from trustllm_repro.scoring.results import cell_results, verify_frame, write_csv, write_tables
from trustllm_repro.store.atomic import read_object, write_json
from trustllm_repro.store.provenance import file_hash, provenance
from trustllm_repro.tasks.base import Column, Task


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder: verdicts, scored cells, and where tables and figures go.

    A folder without verdicts shows the committed ones, so that any notebook runs alone.
    """

    path: Path

    @cached_property
    def home(self) -> Path:
        """Where the verdicts lie: the run folder, else the committed ledger."""
        own = any((self.path / n).exists() for n in ("ledger.parquet", CELLS))
        return self.path if own else committed_ledger()

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger.load(self.home)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Every published cell under every rule: the columns `scoring.cells.FIELDS`."""
        return read_cells(self.home)

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
        ledger = self.ledger
        of_models = (ledger.answers(task.id, m, rule, revisions) for m in ledger.models)
        parts = [answers for answers in of_models if len(answers)]
        empty = pd.DataFrame(columns=[*ANSWER, *task.facets, "file"])
        found = pd.concat(parts, ignore_index=True) if parts else empty
        found.attrs["asked"] = len(ledger.asked(task.id))
        return found

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
        every = read_cells(self.path)
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
    found = bool(answers and questions)
    if source == "ledger" or (source == "auto" and not found):
        return replay_ledger(out), "ledger"
    if not answers or not questions:
        raise missing("recorded answers or benchmark", ("recorded", "dataset.zip"))
    return replay_records(answers, questions, out)[0], "records"


def replay_ledger(out: str | Path, ledger: str | Path | None = None) -> Run:
    """Tables from a ledger that exists already (default: the committed one)."""
    folder, start = Path(ledger or committed_ledger()), time.perf_counter()
    loaded = Ledger.load(folder)
    # The committed verdicts come with their cells; a test scores them anew.
    cells = read_cells(folder) if ledger is None else None
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
    cells = score_cells(ledger, published()) if cells is None else cells
    times.append(time.perf_counter())
    ledger.save(out)
    write_cells(cells, out)
    write_tables(cells, out / "tables")
    # Full precision: a checker compares `published` with the sheet and the verdict with the gap.
    write_csv(out / "verify.csv", verify_frame(cells), form=None)
    cell_results(cells).save(out)
    times.append(time.perf_counter())
    stages = zip(("read", "score", "write"), np.diff(times), strict=True)
    facts["seconds"] = {name: round(float(took), 2) for name, took in stages}
    write_json(out / "provenance.json", facts)
    return Run(out)
