"""Figures of the dimension notebooks and of the verification."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from trustllm_repro.escape import for_figure
from trustllm_repro.plot.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LIGHT,
    ORANGE,
    PAGE,
    RED,
    save,
    styled,
)
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.tables import label

# table, column, panel title, note on the direction
Panel = tuple[str, str, str]
VERDICTS = {"reproduced": BLUE, "near": GREEN, "differs": RED, "not recorded": LIGHT}


def panels(cells: pd.DataFrame, shown: list[Panel], folder: Path, name: str) -> Path:
    """Dot plot, one panel per published column: published, recomputed with interval, corrected.

    Models stand in one order for all panels: by their published value in the first panel.
    """
    picked = {p: _panel(cells, *p[:2]) for p in shown}
    first = picked[shown[0]]
    order = first.sort_values("published", na_position="first").index.tolist()
    for part in picked.values():
        order = [m for m in part.index if m not in order] + order
    with styled():
        width = PAGE
        height = 0.6 + 0.155 * len(order)
        figure, axes = plt.subplots(
            1, len(shown), figsize=(width, height), sharey=True, layout="constrained", squeeze=False
        )
        for axis, (panel, part) in zip(axes[0], picked.items(), strict=True):
            _dots(axis, part.reindex(order), panel[2])
        axes[0][0].set_yticks(range(len(order)), [for_figure(label(m)) for m in order])
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        data = pd.concat(p.assign(panel=k[2]).reset_index() for k, p in picked.items())
    return save(figure, data, folder, name)


def _panel(cells: pd.DataFrame, table: str, column: str) -> pd.DataFrame:
    part = cells[(cells["table"] == table) & (cells["column"] == column)]
    by_rule = {
        r: part[part["rule"] == r].set_index("model") for r in (Rule.AUTHORS, Rule.CORRECTED)
    }
    authors, corrected = by_rule.values()
    frame = authors[["published", "value", "ci_low", "ci_high"]].rename(
        columns={"value": "authors"}
    )
    frame["corrected"] = corrected["value"]
    return frame


def _dots(axis, frame: pd.DataFrame, title: str) -> None:
    y = np.arange(len(frame))
    axis.hlines(y, frame["ci_low"], frame["ci_high"], color=BLUE, linewidth=1.6, alpha=0.45)
    axis.plot(frame["published"], y, "D", ms=4.6, mfc="white", mec=GREY, mew=0.8, label="published")
    axis.plot(
        frame["authors"],
        y,
        "o",
        ms=2.8,
        color=BLUE,
        label="recomputed, authors' rule (95 % interval)",
    )
    moved = (frame["corrected"] - frame["authors"]).abs() > 0.005
    axis.plot(
        frame["corrected"].where(moved), y, "x", ms=4, mew=1.1, color=ORANGE, label="corrected rule"
    )
    axis.set_title(title, color=INK)
    axis.grid(axis="x")
    axis.set_ylim(-0.7, len(frame) - 0.3)
    axis.tick_params(axis="y", length=0)


def verification(cells: pd.DataFrame, folder: Path, name: str = "verification") -> Path:
    """Stacked bars: verdicts per published table, authors' rule."""
    part = cells[(cells["rule"] == Rule.AUTHORS) & cells["published"].notna()]
    counts = part.groupby(["table", "verdict"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(VERDICTS), fill_value=0)
    share = counts.div(counts.sum(axis=1), axis=0)
    with styled():
        figure, axis = plt.subplots(figsize=(PAGE, 0.5 + 0.14 * len(share)), layout="constrained")
        y, left = np.arange(len(share))[::-1], np.zeros(len(share))
        for verdict, colour in VERDICTS.items():
            values = share[verdict].to_numpy()
            hatch = "" if verdict != "differs" else "////"
            axis.barh(y, values, left=left, color=colour, height=0.74, label=verdict, hatch=hatch)
            left += values
        axis.set_yticks(y, share.index)
        for at, (done, total) in zip(
            y, zip(counts["reproduced"], counts.sum(axis=1), strict=True), strict=True
        ):
            axis.text(1.01, at, f"{done} of {total}", va="center", fontsize=6, color=INK)
        axis.set_xlim(0, 1)
        axis.set_ylim(-0.6, len(share) - 0.4)
        axis.set_xlabel("share of published cells (number reproduced at the right)")
        axis.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", ncols=4)
    return save(figure, counts.reset_index(), folder, name)
