"""24_claims: what was measured of watching, beside what it was to reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from trustllm_repro.paths import data_dir
from trustllm_repro.report.online import cells, of_cell, stored
from trustllm_repro.report.online_benchmark import TRIVIAL

# Set before anything was measured: percent that watching may add, by answers at a time.
FLOORS, AIMS = {1: 10, 8: 10, 32: 15}, {1: 1, 8: 2, 32: 5}
TASK, EARLY_AIM = "harm", 60
MINUTES_FLOOR, MINUTES_AIM = 12, 6
RIVAL_FLOOR, RIVAL_AIM = 1.5, 4  # of LM-Polygraph


def measured(run: Path) -> pd.DataFrame:
    """A line a figure: floor, aim, what it is here, and where that was measured."""
    lines = [*_overhead(), *_rival(), *_notebooks(), *_early(run, "this run")]
    lines += _early(data_dir() / "online", "the larger study")
    return pd.DataFrame(lines)


def _facts(name: str) -> dict[str, Any]:
    path = data_dir() / "measurements" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _where(facts: dict[str, Any]) -> str:
    settings = facts["settings"]
    return f"{settings['model']}, {settings['dtype']}, {facts['machine']['cpu']}"


def overhead() -> list[dict[str, Any]]:
    """Committed measurements of what watching adds on a CPU, one a dtype; see online.overhead."""
    found = [_facts(f"overhead_{dtype}") for dtype in ("float32", "bfloat16")]
    return [facts for facts in found if facts]


def added(facts: dict[str, Any], what: str) -> dict[int, float]:
    """Percent of plain generation that watching adds, median of the rounds, by answers at a time."""
    by_batch = {
        int(b): x[what]["together_percent"]["median"] for b, x in facts["batch_size"].items()
    }
    return dict(sorted(by_batch.items()))


def _overhead() -> list[dict[str, str]]:
    return [
        {
            "figure": f"all single-pass monitors, time over plain generation, {b} at a time",
            "floor": f"{FLOORS[b]} %", "aim": f"{AIMS[b]} %", "here": f"{value:.1f} %",
            "measured": _where(facts),
        }
        for facts in overhead()
        for b, value in added(facts, "all single-pass").items()
        if b in FLOORS
    ]  # fmt: skip


def _rival() -> list[dict[str, str]]:
    """Both ways it was run: what it does by itself, and told to record no more than is needed."""
    facts = _facts("polygraph")
    return [
        {
            "figure": f"the same estimators in {name}, {what} over ours",
            "floor": f"{RIVAL_FLOOR} times" if key == "time" else "more than ours",
            "aim": f"{RIVAL_AIM} times" if key == "time" else "",
            "here": f"{found[key]:.2f} times", "measured": _where(facts),
        }
        for name, found in facts.get("ratios", {}).items()
        for key, what in (("time", "time"), ("peak_memory", "peak memory"))
    ]  # fmt: skip


def _notebooks() -> list[dict[str, str]]:
    facts = _facts("online_notebooks")
    if not facts:
        return []
    return [
        {
            "figure": "embedded profile, all 2x notebooks", "floor": f"{MINUTES_FLOOR} min",
            "aim": f"{MINUTES_AIM} min", "here": f"{facts['wall_seconds'] / 60:.1f} min",
            "measured": _where(facts),
        }
    ]  # fmt: skip


def _early(run: Path, where: str) -> list[dict[str, str]]:
    """The best monitor or hybrid after the fact, which flatters it."""
    found = stored(run, "stopping")
    lines = []
    for model, task in cells(run):
        if task != TASK or found.empty:
            continue
        part = of_cell(found, model, task)
        part = part[(part["risk"] == 0.05) & (part["figure"] == "early")]
        part = part[~part["monitor"].isin(TRIVIAL)].dropna(subset="value")
        if part.empty:
            continue
        top = part.loc[part["value"].idxmax()]
        lines.append(
            {
                "figure": "harmful answers, rated by people, stopped within 18 % of their tokens at "
                f"5 % false alarms: {top['monitor']}",
                "floor": "to be told", "aim": f"{EARLY_AIM} %",
                "here": f"{100 * top['value']:.0f} % ({100 * top['ci_low']:.0f} to "
                f"{100 * top['ci_high']:.0f})",
                "measured": f"{model}, {where}",
            }
        )  # fmt: skip
    return lines
