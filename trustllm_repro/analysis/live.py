"""Live models in the notebooks: rows of models that answered themselves, beside the published field.

A live model is a folder: `data/live/<name>` (committed ledgers of whole runs) or
`<run>/live/<name>` (what 05_live or `evaluate --out` left). Their cells are scored anew from the
ledger, so that all rows on a page come from the same code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from trustllm_repro.data.benchmark import MINIATURE
from trustllm_repro.data.published import published
from trustllm_repro.errors import SettingsError
from trustllm_repro.evaluation.judge_choice import JudgeChoice
from trustllm_repro.metrics.judge_error import JudgeError
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.cells import score_cells
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.tasks import DIMENSIONS, TASKS


@dataclass(frozen=True)
class LiveRun:
    """One evaluated model: its folder, and what can be said of it without its answers."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def facts(self) -> dict[str, Any]:
        """provenance.json of the run; empty where it cannot be read."""
        try:
            found = json.loads((self.path / "provenance.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Cells of the model's rows (generated answers, and options by likelihood)."""
        replaced = self.facts.get("settings", {}).get("judges", ())
        measured, kept = JudgeChoice(replaced).measured, self.facts.get("kept_labels", {})

        def errors(task: str) -> JudgeError | None:
            return None if task in kept else measured(task)

        ledger = Ledger.load(self.path)
        cells = score_cells(ledger, published(), (Rule.CORRECTED,), errors)
        return cells[cells["model"].isin(ledger.models)]

    @cached_property
    def rows(self) -> list[str]:
        """Row names; that of the generated answers comes first."""
        found = list(dict.fromkeys(self.cells["model"]))
        return sorted(found, key=lambda n: ("likelihood" in n, n))

    @property
    def is_demonstration(self) -> bool:
        return any(MINIATURE in row for row in self.rows)

    def counts(self) -> pd.DataFrame:
        """What became of the requests, a line a task; empty where it was not kept."""
        path = self.path / "answers.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame()


def folders(run: Path) -> dict[str, Path]:
    """Name -> folder of every live model; a run's own one replaces a committed one of that name."""
    found: dict[str, Path] = {}
    for home in (data_dir() / "live", run / "live"):
        for path in sorted(home.glob("*/ledger.parquet")):
            found[path.parent.name] = path.parent
    return found


def live_runs(run: Path, models: Sequence[str] = ()) -> list[LiveRun]:
    """The named live models, or all there are. A name may also be the path of a run folder.

    Raises:
        SettingsError: no such model.
    """
    known = folders(run)
    if not models:
        return [LiveRun(p) for p in known.values()]
    chosen = []
    for name in models:
        path = known.get(name, Path(name).expanduser())
        if not (path / "ledger.parquet").exists():
            raise SettingsError(
                f"no live model {name!r}: neither in data/live nor in {run.name}/live, nor a folder",
                remedy="run `trustllm-repro evaluate --model ... --out FOLDER` and name the folder; "
                f"known: {', '.join(known) or 'none'}",
            )
        chosen.append(LiveRun(path))
    return chosen


def field_of(cells: pd.DataFrame, table: str) -> pd.DataFrame:
    """Lowest and highest published value per column, and the name of the best model."""
    part = cells[(cells["table"] == table) & (cells["rule"] == Rule.AUTHORS)]
    part = part[part["published"].notna()]
    return part.groupby("column", sort=False)["published"].agg(["min", "max", "size"])


def tables_of(dimension: str) -> list[str]:
    """Tables of a dimension that live answers can fill, in the order of the tasks' columns."""
    tasks = [t for t in DIMENSIONS[dimension].TASKS if t.live]
    wanted = [c.table for t in tasks for c in t.columns if c.metric is not None and not c.pooled]
    return list(dict.fromkeys(wanted))


def judge_notes(dimension: str) -> list[str]:
    """Which judge labels which tasks of a dimension, in words."""
    judged: dict[str, list[str]] = {}
    for task in TASKS.values():
        if task.dimension == dimension and task.live and task.judge:
            judged.setdefault(task.judge, []).append(task.title)
    return [f"{judge}: {', '.join(titles)}" for judge, titles in judged.items()]
