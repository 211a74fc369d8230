"""Models that answered themselves: what `evaluate` left in a folder.

An evaluated model is a folder: `data/live/<name>` (committed verdicts of whole runs) or
`<run>/live/<name>` (what 05_live or `evaluate --out` left).
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
from trustllm_repro.errors import SettingsError
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.frames import answers_frame
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.stored import read_cells
from trustllm_repro.tasks.base import Task


@dataclass(frozen=True)
class EvaluatedModel:
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
    def ledger(self) -> Ledger:
        return Ledger.load(self.path)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Cells of the model's rows under the corrected rule (generated answers, and options by
        likelihood)."""
        cells = read_cells(self.path)
        mine = cells["model"].isin(self.ledger.models) & (cells["rule"] == Rule.CORRECTED)
        return cells[mine]

    def answers(self, task: Task | str) -> pd.DataFrame:
        """A row an answer, as the corrected rule reads it; the columns are those of `Run.answers`."""
        return answers_frame(self.ledger, task, Rule.CORRECTED)

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


def folders(run: Path) -> dict[str, Path]:
    """Name -> folder of every evaluated model; a run's own replaces a committed one of that name."""
    found: dict[str, Path] = {}
    for home in (data_dir() / "live", run / "live"):
        for path in sorted(home.glob("*/ledger.parquet")):
            found[path.parent.name] = path.parent
    return found


def evaluated_models(run: Path, models: Sequence[str] = ()) -> list[EvaluatedModel]:
    """The named models, or all there are. A name may also be the path of a run folder.

    Raises:
        SettingsError: no such model.
    """
    known = folders(run)
    if not models:
        return [EvaluatedModel(p) for p in known.values()]
    chosen = []
    for name in models:
        path = known.get(name, Path(name).expanduser())
        if not (path / "ledger.parquet").exists():
            raise SettingsError(
                f"no evaluated model {name!r}: neither in data/live nor in {run.name}/live, nor a "
                "folder",
                remedy="run `trustllm-repro evaluate --model ... --out FOLDER` and name the folder; "
                f"known: {', '.join(known) or 'none'}",
            )
        chosen.append(EvaluatedModel(path))
    return chosen
