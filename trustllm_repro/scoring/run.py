"""A run folder: what `replay` writes and what notebooks read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from trustllm_repro.data.benchmark import load_benchmark
from trustllm_repro.data.published import published
from trustllm_repro.data.recorded import Recorded, load_recorded
from trustllm_repro.errors import SourceCorrupt
from trustllm_repro.paths import data_dir
from trustllm_repro.scoring.cells import score_cells
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.relabel import with_our_labels
from trustllm_repro.scoring.tables import write_tables, write_verify
from trustllm_repro.store.atomic import write_json, write_with
from trustllm_repro.store.provenance import file_hash, provenance

CELLS = "cells.parquet"
Say = Callable[[str, int, int], None]


def committed_ledger() -> Path:
    return data_dir() / "ledger"


def quiet(stage: str, done: int, total: int) -> None:
    """Progress callback that shows nothing."""


@dataclass(frozen=True)
class Run:
    """One run folder. Everything is read from it, lazily, and nothing is kept elsewhere."""

    path: Path

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger.load(self.path)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Every published cell under every rule; see report.scores.FIELDS."""
        try:
            return pd.read_parquet(self.path / CELLS)
        except (OSError, ValueError) as e:  # pyarrow's errors are ValueErrors
            raise SourceCorrupt(
                f"{self.path / CELLS} cannot be read: {e}",
                remedy="run `trustllm-repro replay` or `reproduce` again; it is made from the ledger",
            ) from e

    @property
    def tables(self) -> Path:
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        return self.path / "figures"


def open_run(path: str | Path) -> Run:
    """The run folder at `path`; made from the committed ledger if it is not there yet.

    That lets every notebook run alone, top to bottom.
    """
    run = Run(Path(path))
    if not all((run.path / n).exists() for n in ("ledger.parquet", "items.parquet", CELLS)):
        replay_ledger(run.path)
    return run


def replay_ledger(out: str | Path, ledger: str | Path | None = None, say: Say = quiet) -> Run:
    """Tables from a ledger that exists already (default: the committed one)."""
    folder = Path(ledger or committed_ledger())
    start = time.perf_counter()
    loaded = Ledger.load(folder)
    sources = {n: str(file_hash(folder / n)) for n in ("items.parquet", "ledger.parquet")}
    return _finish(Path(out), loaded, sources, {"ledger": folder.name}, start, say)


def replay_records(
    records: str | Path | Sequence[str | Path],
    benchmark: str | Path,
    out: str | Path,
    *,
    verify: bool = True,
    say: Say = quiet,
) -> tuple[Run, Recorded]:
    """Recorded answers -> ledger -> tables.

    Nothing is written before all sources are read and valid.

    Raises:
        ReproError: a source is missing, corrupt or malformed, or `out` cannot be written.
    """
    start = time.perf_counter()
    questions = load_benchmark(benchmark, verify=verify)
    recorded = load_recorded(
        records, questions, verify=verify, progress=lambda d, t: say("reading answers", d, t)
    )
    ledger = Ledger.of(recorded, lambda d, t: say("judging answers", d, t))
    ledger = with_our_labels(ledger, recorded)
    sources = {"benchmark": questions.digest, "records": recorded.digest}
    given = [records] if isinstance(records, str | Path) else records
    names = ", ".join(Path(r).name for r in given)
    settings = {"records": names, "benchmark": Path(benchmark).name, "verify": verify}
    run = _finish(Path(out), ledger, sources, settings, start, say)
    write_json(run.path / "import.json", import_summary(recorded))
    return run, recorded


def import_summary(recorded: Recorded) -> dict[str, Any]:
    """What the importer met, without any text of an answer."""
    report = recorded.report
    return {
        "models": recorded.models,
        "files": len(report.read),
        "rows": sum(report.read.values()),
        "copies": [list(c) for c in report.copies],
        "matched_by_position": report.by_position,
        "unmatched_rows": report.unmatched,
        "ignored_files": report.ignored,
        "files_without_known_sha256": report.unverified,
    }


def _finish(
    out: Path,
    ledger: Ledger,
    sources: dict[str, str],
    settings: dict[str, Any],
    start: float,
    say: Say,
) -> Run:
    say("scoring cells", 0, 1)
    read = time.perf_counter()
    cells = score_cells(ledger, published())
    scored = time.perf_counter()
    ledger.save(out)
    write_with(out / CELLS, lambda p: cells.to_parquet(p, index=False))
    write_tables(cells, out / "tables")
    write_verify(cells, out / "verify.csv")
    facts = provenance(sources, settings)
    facts["seconds"] = {
        "read": round(read - start, 2),
        "score": round(scored - read, 2),
        "write": round(time.perf_counter() - scored, 2),
    }
    write_json(out / "provenance.json", facts)
    say("scoring cells", 1, 1)
    return Run(out)
