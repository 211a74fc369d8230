"""Reproduction of TrustLLM and of Online Safety Analysis for LLMs, driven by notebooks.

>>> import trustllm_repro as tr
>>> run = tr.open_run("runs/embedded")
>>> tr.show(tr.compare(run, "safety_jailbreak"))
>>> run.answers("jailbreak").groupby(["attack", "model"]).label.value_counts()

A run and its frames: `open_run`, `Run`, `score`, `compare`, `leaderboard`, `rank_intervals`,
`claims`, `defects`, `before_after`, `standing`, `evaluated_cells`.
Online safety: `Guard`; `open_study`, `evaluate_monitors`, `online_figures`, `Monitor`.
Of your own: `Task`, `read_answers`, `Metric`, `evaluate_model`.
What leaves a notebook: `plot`, `save`, `show`.

Every name is loaded when it is first used, so importing the package is quick.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

EXPORTS = {
    "Guard": "online.guard.guard",
    "MODELS": "data.published",
    "Metric": "metrics.base",
    "Monitor": "online.monitors.base",
    "Rule": "schema",
    "Run": "scoring.run",
    "Task": "tasks.base",
    "before_after": "analysis.defects",
    "claims": "analysis.claims",
    "compare": "analysis.compare",
    "defects": "analysis.defects",
    "evaluate_model": "evaluation.run",
    "evaluate_monitors": "online.studies.evaluate",
    "evaluated_cells": "analysis.compare",
    "leaderboard": "analysis.compare",
    "online_figures": "online.studies.estimates",
    "open_run": "scoring.run",
    "open_study": "online.studies.evaluate",
    "plot": "",
    "rank_intervals": "analysis.compare",
    "read_answers": "scoring.run",
    "save": "export",
    "score": "scoring.run",
    "show": "display",
    "standing": "analysis.compare",
}
__all__ = list(EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not EXPORTS[name]:
        return import_module(f"{__name__}.{name}")
    found = getattr(import_module(f"{__name__}.{EXPORTS[name]}"), name)
    globals()[name] = found  # the module of that name, if any, is not meant
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
