"""Figure of the audit: numbers before and after."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from trustllm_repro.analysis.audit import before_after
from trustllm_repro.analysis.evidence import Evidence
from trustllm_repro.escape import for_figure
from trustllm_repro.plot.style import GREY, ORANGE, PAGE, save, styled
from trustllm_repro.scoring.run import Run
from trustllm_repro.scoring.tables import label

COLUMNS = (
    ("truth_internal", "CODAH", "CODAH, acc."),
    ("truth_hallucination", "KGD", "Dialogue, acc."),
    ("truth_hallucination", "SUM", "Summaries, acc."),
    ("safety_misuse", "additional", "Misuse, RtA"),
    ("safety_jailbreak", "toxicity", "Jailbreak “toxicity”"),
    ("leaderboard_ethics", "Social Chemistry 101 Acc", "Social Chemistry"),
    ("leaderboard_ethics", "MoralChoice Acc", "MoralChoice, acc."),
    ("leaderboard_privacy", "Privacy Awareness Correlation", "ConfAIde, r"),
)


def changes(run: Run, name: str = "audit_changes") -> Path:
    """Dumbbells: authors' rule (ring) to corrected (disc), one panel per defect, moved models only."""
    e, parts = Evidence(run), []
    for table, column, title in COLUMNS:
        part = before_after(e, (table, column))
        parts.append((title, part[part["change"].abs() > 0.005].sort_values("corrected")))
    with styled():
        figure, axes = plt.subplots(2, 4, figsize=(PAGE, 3.7), layout="constrained")
        for axis, (title, part) in zip(axes.flat, parts, strict=True):
            _dumbbell(axis, title, part)
        handles, names = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2)
    data = pd.concat(p.assign(panel=t) for t, p in parts)
    return save(figure, data, run.figures, name)


def _dumbbell(axis, title: str, part: pd.DataFrame) -> None:
    y = np.arange(len(part))
    axis.hlines(y, part["authors"], part["corrected"], color=ORANGE, linewidth=1.1)
    axis.plot(
        part["authors"],
        y,
        "o",
        ms=3.6,
        mfc="white",
        mec=GREY,
        mew=0.9,
        label="as published (authors' rule)",
    )
    axis.plot(part["corrected"], y, "o", ms=3.6, color=ORANGE, label="corrected")
    axis.set_yticks(y, [for_figure(label(m)) for m in part["model"]])
    axis.set_ylim(-0.8, max(len(part), 1) - 0.2)
    axis.set_title(title)
    axis.grid(axis="x")
    axis.tick_params(axis="y", length=0)
    axis.locator_params(axis="x", nbins=4)
    if part.empty:
        axis.text(
            0.5, 0.5, "no recorded answers", ha="center", transform=axis.transAxes, fontsize=6
        )
