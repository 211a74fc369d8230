"""Frame -> figure: one look for all figures, at the widths of a printed page.

Every function returns an open matplotlib figure, to be changed, shown or saved
(`trustllm_repro.save`). `styled()` gives the same look to figures drawn in a cell:

>>> with tr.plot.styled():
...     fig, axis = plt.subplots(figsize=(tr.plot.COLUMN, 2), layout="constrained")
"""

from collections.abc import Iterator, Mapping
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
    "axes.facecolor": "white",
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
        handles = axes[0][0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=4)
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
    axis.set_title(for_figure(title), color=INK)
    axis.grid(axis="x")
    axis.set_ylim(-0.7, len(part) - 0.3)
    axis.tick_params(axis="y", length=0)
