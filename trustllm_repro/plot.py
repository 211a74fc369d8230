"""Frame -> figure: one look for all figures, at the widths of a printed page.

Every function returns an open matplotlib figure, to be changed, shown or saved
(`trustllm_repro.save`). `styled()` gives the same look to figures drawn in a cell:

>>> with tr.plot.styled():
...     fig, axis = plt.subplots(figsize=(tr.plot.COLUMN, 2), layout="constrained")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from trustllm_repro.data.published import label
from trustllm_repro.escape import for_figure

COLUMN, PAGE = 3.35, 6.9  # inches: one column and the full width of a two-column page

PALETTE = sns.color_palette("colorblind")
INK, GREY, LIGHT = "#222222", "#7a7a7a", "#dddddd"
BLUE, ORANGE, GREEN, RED = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[3]
VERDICTS = {"reproduced": BLUE, "near": GREEN, "differs": RED, "not recorded": LIGHT}
ARROWS = {"higher": "↑", "lower": "↓"}

RC = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so bytes do not depend on the machine
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LIGHT,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1,
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "trustllm-repro",
}


@contextmanager
def styled() -> Iterator[None]:
    """Context in which figures of this package are drawn."""
    # Not matplotlib.rc_context: on leaving it also undoes that a notebook's first figure made the
    # session interactive, and later figures would not be shown.
    before = {k: mpl.rcParams[k] for k in RC}
    mpl.rcParams.update(RC)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def dots(compared: pd.DataFrame, titles: Mapping[str, str] | None = None) -> Figure:
    """Published and recomputed values, a panel a column, a line a model.

    Diamonds are published, discs recomputed under the authors' rule with a 95 % interval; a cross
    is the corrected value, where it is another one. Models stand in one order for all panels: by
    their published value in the first.

    Args:
        compared: of `compare`, one table or several; panels come in its order of columns.
        titles: column -> title of its panel, and the panels to draw; all columns if None. Without
            a title a column has its name and the direction that is better.
    """
    frame = compared.reset_index()
    names = list(titles) if titles else list(dict.fromkeys(frame["column"]))
    parts = {c: frame[frame["column"] == c].set_index("model") for c in names}
    order = parts[names[0]].sort_values("published", na_position="first").index.tolist()
    for part in parts.values():
        order = [m for m in part.index if m not in order] + order
    with styled():
        figure, axes = plt.subplots(
            1, len(names), figsize=(PAGE, 0.6 + 0.155 * len(order)), sharey=True,
            layout="constrained", squeeze=False,
        )  # fmt: skip
        for axis, (column, part) in zip(axes[0], parts.items(), strict=True):
            arrow = ARROWS.get(str(part["better"].iloc[0]), "") if "better" in part else ""
            title = (titles or {}).get(column) or f"{column}\u00a0{arrow}"
            _dots(axis, part.reindex(order), fill(title, max(12, 80 // len(names))))
        axes[0][0].set_yticks(range(len(order)), [for_figure(label(m)) for m in order])
        _legend_below(figure, axes[0][0])
    return figure


def _dots(axis: Any, part: pd.DataFrame, title: str) -> None:
    y = np.arange(len(part))
    axis.hlines(y, part["ci_low"], part["ci_high"], color=BLUE, linewidth=1.6, alpha=0.45)
    axis.plot(part["published"], y, "D", ms=4.6, mfc="white", mec=GREY, mew=0.8, label="published")
    axis.plot(
        part["authors"], y, "o", ms=2.8, color=BLUE,
        label="recomputed, authors' rule (95 % interval)",
    )  # fmt: skip
    moved = (part["corrected"] - part["authors"]).abs() > 0.005
    corrected = part["corrected"].where(moved)
    axis.plot(corrected, y, "x", ms=4, mew=1.1, color=ORANGE, label="corrected rule")
    _lines(axis, title, len(part))


def _lines(axis: Any, title: str, n: int) -> None:
    """A panel whose y axis names things."""
    axis.set_title(for_figure(title), color=INK)
    axis.grid(axis="x")
    axis.set_ylim(-0.7, n - 0.3)
    axis.tick_params(axis="y", length=0)


def _legend_below(figure: Figure, axis: Any) -> None:
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)


def verdicts(counts: pd.DataFrame) -> Figure:
    """Stacked bars: how many published cells of each table were reproduced.

    Args:
        counts: index table; columns reproduced, near, differs, not recorded: numbers of cells.
    """
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
        for at, done, total in zip(y, counts["reproduced"], counts.sum(axis=1), strict=True):
            axis.text(1.01, at, f"{done} of {total}", va="center", fontsize=6, color=INK)
        axis.set_xlim(0, 1)
        axis.set_ylim(-0.6, len(share) - 0.4)
        axis.set_xlabel("share of published cells (number reproduced at the right)")
        axis.tick_params(axis="y", length=0)
        _legend_below(figure, axis)
    return figure


def dumbbells(changes: pd.DataFrame, ncols: int = 4) -> Figure:
    """From the authors' rule (ring) to the corrected one (disc), a panel a column.

    Args:
        changes: columns panel (title), model, authors, corrected; panels in order of appearance.
    """
    panels = list(changes.groupby("panel", sort=False))
    rows = -(-len(panels) // ncols)
    with styled():
        figure, axes = plt.subplots(
            rows, ncols, figsize=(PAGE, 0.4 + 1.65 * rows), layout="constrained", squeeze=False
        )
        for axis in axes.flat[len(panels) :]:
            axis.remove()
        for axis, (title, part) in zip(axes.flat, panels, strict=False):
            part = part.sort_values("corrected")
            y = np.arange(len(part))
            axis.hlines(y, part["authors"], part["corrected"], color=ORANGE, linewidth=1.1)
            axis.plot(
                part["authors"], y, "o", ms=3.6, mfc="white", mec=GREY, mew=0.9,
                label="as published (authors' rule)",
            )  # fmt: skip
            axis.plot(part["corrected"], y, "o", ms=3.6, color=ORANGE, label="corrected")
            axis.set_yticks(y, [for_figure(label(m)) for m in part["model"]])
            _lines(axis, str(title), max(len(part), 1))
            axis.locator_params(axis="x", nbins=4)
        _legend_below(figure, axes[0][0])
    return figure


def rank_heatmap(ranks: pd.DataFrame, recomputed: pd.DataFrame) -> Figure:
    """Ranks of models in all columns; a dot marks cells recomputed from recorded answers.

    Args:
        ranks: index model, columns (table, column); 1 is best.
        recomputed: the same shape, bool.
    """
    with styled():
        figure, axis = plt.subplots(figsize=(PAGE, 4.1), layout="constrained")
        sns.heatmap(
            ranks.to_numpy(), ax=axis, cmap="viridis_r", vmin=1, vmax=len(ranks), linewidths=0.4,
            linecolor="white", cbar_kws={
                "label": "rank (1 = best)", "shrink": 0.6, "pad": 0.01,
                "ticks": [1, *range(4, len(ranks) + 1, 4)],
            },
        )  # fmt: skip
        for i, j in np.ndindex(ranks.shape):
            value, mark = ranks.iat[i, j], "•" if recomputed.iat[i, j] else ""
            axis.text(
                j + 0.5, i + 0.5, f"{value:.0f}{mark}", ha="center", va="center", fontsize=5.2,
                color="white" if value > len(ranks) / 2 else INK,
            )  # fmt: skip
        axis.set_yticks(np.arange(len(ranks)) + 0.5, [for_figure(label(m)) for m in ranks.index])
        axis.tick_params(axis="y", rotation=0)
        names = [c.replace("Prefereence", "Preference") for _, c in ranks.columns]
        axis.set_xticks(np.arange(len(names)) + 0.5, names, rotation=55, ha="right", fontsize=6)
        boards = [b for b, _ in ranks.columns]
        for j in range(1, len(boards)):
            if boards[j] != boards[j - 1]:
                axis.axvline(j, color=INK, linewidth=0.8)
        axis.tick_params(length=0)
    return figure


def mean_ranks(table: pd.DataFrame) -> Figure:
    """Mean rank per model with its interval, beside the published average rank.

    Args:
        table: of `rank_intervals`: model, mean_rank, low, high, published; best model first.
    """
    table = table.iloc[::-1]
    y = np.arange(len(table))
    with styled():
        figure, axis = plt.subplots(figsize=(COLUMN, 2.7), layout="constrained")
        axis.hlines(y, table["low"], table["high"], color=BLUE, linewidth=2, alpha=0.5)
        axis.plot(table["mean_rank"], y, "o", ms=3, color=BLUE, label="recomputed")
        axis.plot(
            table["published"], y, "D", ms=3.6, mfc="white", mec=GREY,
            label="published average rank",
        )  # fmt: skip
        axis.set_yticks(y, [for_figure(label(m)) for m in table["model"]])
        axis.set_xlabel("mean rank over 31 columns (1 = best)")
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
        axis.legend(loc="upper right")
    return figure


def report_card(standing: pd.DataFrame, field: pd.DataFrame, name: str = "") -> Figure:
    """One model (diamond, with interval) beside the published ones (dots), a line a column.

    Args:
        standing: of `standing`: table, column, better, value, ci_low, ci_high, likelihood, median.
        field: of `leaderboard`: published values, columns (table, column).
    """
    parts = list(standing.groupby("table", sort=False))
    heights = [len(p) for _, p in parts]
    with styled():
        figure, axes = plt.subplots(
            len(parts), 1, figsize=(PAGE, 1.0 + 0.2 * sum(heights)), sharex=True,
            layout="constrained", gridspec_kw={"height_ratios": heights},
        )  # fmt: skip
        for axis, (table, part) in zip(axes, parts, strict=True):
            _strip(axis, part, field[table])
            axis.set_title(str(table).removeprefix("leaderboard_"), loc="left", color=INK)
        axes[-1].set_xlabel("value")
        _legend_below(figure, axes[0])
        figure.suptitle(for_figure(name), fontsize=8, color=INK)
    return figure


def _strip(axis: Any, part: pd.DataFrame, field: pd.DataFrame) -> None:
    y = np.arange(len(part))[::-1]
    for at, column in zip(y, part["column"], strict=True):
        known = field[column].dropna()
        axis.hlines(at, known.min(), known.max(), color=LIGHT, linewidth=1)
        axis.plot(
            known, np.full(len(known), at), "o", ms=2.6, color=GREY, alpha=0.55, mew=0,
            label="published models" if at == y[0] else None,
        )  # fmt: skip
    axis.plot(part["median"], y, "|", ms=7, color=INK, mew=0.9, label="their median")
    axis.hlines(y, part["ci_low"], part["ci_high"], color=BLUE, linewidth=2, alpha=0.5)
    axis.plot(part["value"], y, "D", ms=4.2, color=BLUE, label="this model (95 % interval)")
    axis.plot(
        part["likelihood"], y, "x", ms=4.4, mew=1.1, color=ORANGE, label="by likelihood of options"
    )
    names = [f"{c} {ARROWS[b]}" for c, b in zip(part["column"], part["better"], strict=True)]
    axis.set_yticks(y, names)
    axis.set_ylim(-0.6, len(part) - 0.4)
    axis.grid(axis="x")
    axis.tick_params(axis="y", length=0)


def agreement(panels: Mapping[str, pd.DataFrame], widths: Sequence[float]) -> Figure:
    """Kappa of a judge (disc) beside that of a keyword list (square), a panel a grouping.

    Args:
        panels: title -> frame with the columns group, kappa and "kappa, keywords".
        widths: of the panels, in parts.
    """
    with styled():
        figure, axes = plt.subplots(
            1, len(panels), figsize=(PAGE, 2.6), layout="constrained", sharex=True,
            gridspec_kw={"width_ratios": list(widths)},
        )  # fmt: skip
        for axis, (title, frame) in zip(axes, panels.items(), strict=True):
            y = np.arange(len(frame))[::-1]
            axis.hlines(y, frame["kappa, keywords"], frame["kappa"], color=LIGHT, linewidth=1)
            axis.plot(
                frame["kappa, keywords"], y, "s", ms=3, mfc="white", mec=GREY, label="keyword list"
            )
            axis.plot(frame["kappa"], y, "o", ms=3.6, color=BLUE, label="this judge")
            names = [for_figure(str(v).split("/")[-1].replace("_", " ")) for v in frame["group"]]
            axis.set_yticks(y, names)
            _lines(axis, title, len(frame))
            axis.set_xlabel("kappa")
        _legend_below(figure, axes[0])
    return figure
