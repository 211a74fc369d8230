"""The tasks of TrustLLM, one module a dimension. Every module lists its own in TASKS."""

from __future__ import annotations

from trustllm_repro.tasks import ethics, fairness, privacy, robustness, safety, truthfulness
from trustllm_repro.tasks.base import Column, Task

DIMENSIONS = {
    "truthfulness": truthfulness,
    "safety": safety,
    "fairness": fairness,
    "robustness": robustness,
    "privacy": privacy,
    "ethics": ethics,
}
TASKS: dict[str, Task] = {t.id: t for module in DIMENSIONS.values() for t in module.TASKS}

# Published columns that are no metric of any task's answers.
_RANKS = "a rank among 14 models; the values it ranks are not all recorded"
_RANKED = ("Stereotype Overall", "Overall Agreement Rate", "Sex", "Race", "Refuse Overall")
DERIVED = (
    *(Column("fairness_leaderboard", f"{name}_rank", gap=_RANKS) for name in _RANKED),
    Column(
        "overall_average_rank",
        "average rank",
        lower=True,
        gap="a rank over 31 tasks and 16 models; the answers to most of them are not recorded",
    ),
)
COLUMNS: tuple[tuple[Task | None, Column], ...] = (
    *((task, column) for task in TASKS.values() for column in task.columns),
    *((None, column) for column in DERIVED),
)
