"""Which notebooks of a profile are due, and why."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from trustllm_repro.errors import ReproError, SettingsError
from trustllm_repro.paths import project_root
from trustllm_repro.run_notebooks.inputs import code_used, files_read
from trustllm_repro.run_notebooks.notebook import (
    Notebook,
    check,
    load_profile,
    notebooks_dir,
    read_notebook,
)
from trustllm_repro.store.archive import sha256

FIRST = "00_provenance"
TYPICAL_SECONDS = 15  # of a notebook whose profile gives none


@dataclass(frozen=True)
class Stage:
    """One notebook with its parameters and the stages it needs.

    Attributes:
        inputs: hashes of what it depends on, by kind.
        changed: what has changed since it last ran, in words; "" if it is up to date.
    """

    notebook: Notebook
    parameters: dict[str, Any]
    needs: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    changed: str = ""

    @property
    def name(self) -> str:
        return self.notebook.name

    def with_inputs(self, before: Mapping[str, str]) -> Stage:
        """The stage with hashes of what it depends on now.

        Args:
            before: a hash of the inputs of each stage it needs.
        """
        parts = {
            "notebook": self.notebook.cells,
            "parameters": self.parameters,
            "files": files_read(self.notebook.reads, self.parameters),
            "code": code_used(text for kind, text in self.notebook.cells if kind == "code"),
            "earlier stages": {n: before[n] for n in self.needs},
        }
        return replace(self, inputs={k: hash_of(v) for k, v in parts.items()})


@dataclass(frozen=True)
class Plan:
    """Stages of a profile in order; `costs`: seconds, where the profile knows them."""

    profile: str
    run: Path
    stages: list[Stage]
    costs: Mapping[str, int] = field(default_factory=dict)
    describes: str = ""

    @property
    def due(self) -> list[Stage]:
        return [s for s in self.stages if s.changed]

    @property
    def frame(self) -> pd.DataFrame:
        """Index stage; columns state, why and needs, all str."""
        lines = [
            ["to run" if s.changed else "up to date", s.changed, ", ".join(s.needs)]
            for s in self.stages
        ]
        names = pd.Index([s.name for s in self.stages], name="stage")
        return pd.DataFrame(lines, names, ["state", "why", "needs"])

    @property
    def seconds(self) -> int:
        """Rough estimate: the first stage runs alone, the others two at a time, models in turn."""
        cost = {s.name: self.costs.get(s.name, TYPICAL_SECONDS) for s in self.due}
        first = cost.pop(FIRST, 0)
        models = sum(cost[s.name] for s in self.due if s.notebook.model and s.name in cost)
        return first + max(sum(cost.values()) // 2, models)


def make_plan(profile: str, run: Path, start_at: str = "") -> Plan:
    """Stages of a profile and which are up to date.

    Args:
        start_at: run this stage and all after it, whatever their state.

    Raises:
        SettingsError: unknown profile, notebook or parameter. SourceCorrupt: no notebook.
    """
    found = load_profile(profile)
    if start_at and start_at not in found.notebooks:
        raise ReproError(f"no stage {start_at!r}", remedy=f"one of: {', '.join(found.notebooks)}")
    stages: list[Stage] = []
    before: dict[str, str] = {}
    forced = ""
    for name, values in found.notebooks.items():
        notebook = read_notebook(name)
        parameters = check(notebook, {"run_dir": _relative(run), **values})
        needs = tuple(n for n in notebook.needs if n in found.notebooks)
        if late := [n for n in needs if n not in before]:
            raise SettingsError(
                f"profile {profile} names {name} before {late[0]}, which it needs",
                remedy=f"change their order in notebooks/profiles/{profile}.yaml",
            )
        stage = Stage(notebook, parameters, needs).with_inputs(before)
        before[name] = hash_of(stage.inputs)
        forced = f"--from {start_at}" if name == start_at else forced
        stages.append(replace(stage, changed=forced or _changed(run, stage)))
    return Plan(profile, run, stages, found.seconds, found.describes)


def hash_of(value: Any) -> str:
    """Of anything JSON can hold."""
    return sha256(json.dumps(value, sort_keys=True).encode())


def _relative(run: Path) -> str:
    """Run folder as seen from notebooks/, so that no absolute path gets into a stored notebook."""
    run, root = run.resolve(), project_root()
    return os.path.relpath(run, notebooks_dir()) if run.is_relative_to(root) else str(run)


def state_file(run: Path, name: str) -> Path:
    """Where a run notes a finished stage: its inputs and seconds."""
    return run / ".stages" / f"{name}.json"


def read_state(run: Path, name: str) -> dict[str, Any]:
    """Inputs and seconds of a stage that was finished; empty where nothing readable says so."""
    try:
        found = json.loads(state_file(run, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _changed(run: Path, stage: Stage) -> str:
    """What has changed since a stage last ran, in words; "" if nothing has."""
    known = read_state(run, stage.name).get("inputs")
    if not isinstance(known, dict):
        return "not run yet"
    if not all((run / "notebooks" / f"{stage.name}{s}").exists() for s in (".ipynb", ".html")):
        return "output is missing"
    other = [kind for kind, now in stage.inputs.items() if known.get(kind) != now]
    return f"changed: {', '.join(other)}" if other else ""
