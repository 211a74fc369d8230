"""Measured times of the replay, with the machine they were measured on."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trustllm_repro.scoring.run import replay_ledger, replay_records
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(records: Path, benchmark: Path, repeats: int, to: Path) -> dict[str, Any]:
    """Time both paths to the tables in turn and write medians, extremes and their ratio.

    The ledger path reads what the first replay wrote, so both score the same verdicts.
    """
    times: dict[str, list[float]] = {"raw answers": [], "ledger": []}
    with tempfile.TemporaryDirectory() as folder:
        raw, ledger = Path(folder) / "raw", Path(folder) / "ledger"
        for _ in range(repeats):
            times["raw answers"].append(_seconds(lambda: replay_records(records, benchmark, raw)))
            times["ledger"].append(_seconds(lambda: replay_ledger(ledger, raw)))
    machine = provenance({}, {})
    facts = {
        "what": "tables, verify.csv and ledger written to disk, one process, wall seconds",
        "repeats": repeats,
        "seconds": {
            k: {
                "median": round(statistics.median(v), 2),
                "min": round(min(v), 2),
                "max": round(max(v), 2),
            }
            for k, v in times.items()
        },
        "ratio_raw_over_ledger": round(
            statistics.median(a / b for a, b in zip(*times.values(), strict=True)), 2
        ),
        "machine": {k: machine[k] for k in ("cpu", "threads", "os", "python", "git")},
    }
    write_json(to, facts)
    return facts
