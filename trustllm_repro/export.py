"""Figures as files, each with the numbers that are drawn."""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from trustllm_repro.plot import styled
from trustllm_repro.scoring.results import write_csv
from trustllm_repro.scoring.run import Run
from trustllm_repro.store.atomic import write_bytes

SHOWN_DPI = 150  # pixels of a page for an inch of the figure
# Without dates and program versions, the same numbers give the same bytes.
_METADATA = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def save(figure: Figure, run: Run | str | Path, name: str, data: pd.DataFrame) -> None:
    """Write figures/<name>.pdf, .svg, .png (300 dots per inch) and .csv (the numbers drawn).

    The same cells give the same bytes with the same fonts and libraries. A notebook shows the PNG,
    so that the figure is not drawn once more.

    Args:
        run: a run, or any folder.
        data: a row a mark; an index with names becomes columns.

    Raises OutputError: a file cannot be written.
    """
    folder = run.figures if isinstance(run, Run) else Path(run)
    engine = figure.get_layout_engine()
    with styled():
        if engine is not None:
            engine.execute(figure)
        # With a layout engine, or margins to be found, matplotlib draws twice for each format.
        figure.set_layout_engine(None)
        box = figure.get_tightbbox().padded(0.02)
        for kind, metadata in _METADATA.items():
            buffer = io.BytesIO()
            # A PNG of level 3 is written three times as fast as one of 6, and 1 % larger.
            pressed = {"pil_kwargs": {"compress_level": 3}} if kind == "png" else {}
            figure.savefig(buffer, format=kind, metadata=metadata, bbox_inches=box, **pressed)
            write_bytes(folder / f"{name}.{kind}", buffer.getvalue())
    figure.set_layout_engine(engine)
    if "inline" in plt.get_backend():
        from IPython.display import Image, display

        plt.close(figure)
        display(Image(buffer.getvalue(), width=round(SHOWN_DPI * box.width)))
    named = data.reset_index() if data.index.names != [None] else data
    write_csv(folder / f"{name}.csv", named)
