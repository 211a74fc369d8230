"""What `trustllm-repro reproduce` would run, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from trustllm_repro.escape import for_terminal
from trustllm_repro.evaluation.estimate import duration

if TYPE_CHECKING:
    from trustllm_repro.pipeline import Plan


def show(plan: Plan, console: Console) -> None:
    """Stages, which of them are up to date, and about how long the others take."""
    table = Table(
        "stage", "state", "needs", title=f"profile {plan.profile} -> {for_terminal(plan.run)}"
    )
    for s in plan.stages:
        state = "up to date" if s.name in plan.fresh else "to run"
        table.add_row(s.name, state, ", ".join(s.needs))
    console.print(table)
    rough = f"about {duration(plan.seconds)} on two cores, less with products of bfloat16"
    console.print(rough if plan.due else "nothing to do")
