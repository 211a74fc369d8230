"""One look for all figures, and the one way they are saved."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # notebooks show the saved files; no display is ever needed

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from trustllm_repro.scoring.tables import write_csv
from trustllm_repro.store.atomic import write_bytes

COLUMN, PAGE = 3.35, 6.9  # inches: one column and the full width of a two-column page

PALETTE = sns.color_palette("colorblind")
INK, GREY, LIGHT = "#222222", "#7a7a7a", "#dddddd"
BLUE, ORANGE, GREEN, RED = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[3]

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
# Without dates and program versions, the same numbers give the same bytes.
METADATA = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def styled():
    """Context in which figures must be drawn."""
    return plt.rc_context(RC)


def save(figure: Figure, data: pd.DataFrame, folder: Path, name: str) -> Path:
    """Write <name>.pdf, .svg, .png and .csv (the numbers drawn); returns the PNG's path.

    The figure is closed afterwards: notebooks show the file, so what is seen is what is printed.
    """
    with styled():
        for kind, metadata in METADATA.items():
            buffer = io.BytesIO()
            figure.savefig(
                buffer, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.02
            )
            write_bytes(folder / f"{name}.{kind}", buffer.getvalue())
    plt.close(figure)
    write_csv(folder / f"{name}.csv", data)
    return folder / f"{name}.png"
