"""Tables of the online study: each is a function of a Study, written as tables/online_<name>.csv.

Lines of several models stand in one table: a run replaces the lines of its own model and tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from trustllm_repro.errors import SourceCorrupt
from trustllm_repro.online.labels.audit import audit
from trustllm_repro.online.studies import benchmark
from trustllm_repro.online.studies.closed import access
from trustllm_repro.online.studies.costs import costs
from trustllm_repro.online.studies.matched import hybrids
from trustllm_repro.online.studies.pairs import pairs
from trustllm_repro.online.studies.stopping import stopping
from trustllm_repro.online.studies.study import Row, Study, pilot
from trustllm_repro.scoring.tables import write_csv

KEYS = ["model", "task"]

TABLES: dict[str, Callable[[Study], list[Row]]] = {
    "labels": lambda study: list(study.labels),
    "pilot": pilot,
    "benchmark": lambda study: benchmark.rows(study.everyone, study.answered, study.monitors),
    "cost": costs,
    "pairs": pairs,
    "hybrids": hybrids,
    "stopping": stopping,
    "audit": audit,
    "access": access,
}


@dataclass
class Tables:
    """Lines by table, all tasks of one run together; tasks that were left out, and why."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in TABLES})
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, study: Study) -> None:
        """Make the lines of one task."""
        keys = {"model": study.answered.model, "task": study.task.id}
        for name, make in TABLES.items():
            self.rows[name] += [keys | line for line in make(study)]

    def frame(self, name: str) -> pd.DataFrame:
        return pd.DataFrame(self.rows[name])

    def write(self, folder: Path) -> list[Path]:
        """Write the tables there are lines of; lines of other models and tasks stay.

        Raises:
            SourceCorrupt: a table that stands there is none of ours. OutputError.
        """
        return [
            write_csv(path, _merged(path, self.frame(name)))
            for name in TABLES
            if self.rows[name]
            for path in [folder / f"online_{name}.csv"]
        ]


def _merged(path: Path, new: pd.DataFrame) -> pd.DataFrame:
    """In the order of models and tasks in which they were first written."""
    if not path.exists():
        return new
    try:
        old = pd.read_csv(path)
        mine = pd.MultiIndex.from_frame(old[KEYS])
    except (ValueError, KeyError, OSError) as e:  # pandas' parser errors are ValueErrors
        raise SourceCorrupt(
            f"{path} cannot be read: {e}", remedy="delete it; the next run writes it anew"
        ) from e
    order = list(dict.fromkeys([*mine, *pd.MultiIndex.from_frame(new[KEYS])]))
    kept = old[~mine.isin(list(pd.MultiIndex.from_frame(new[KEYS]).unique()))]
    both = pd.concat([kept, new]) if len(kept) else new
    at = [order.index(key) for key in zip(both["model"], both["task"], strict=True)]
    return both.assign(at=at).sort_values("at", kind="stable").drop(columns="at")
