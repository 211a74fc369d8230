"""Any small frame as it is shown on a page, and as LaTeX."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from trustllm_repro.scoring.tables import RAGGED, booktabs, write_csv
from trustllm_repro.store.atomic import write_text


def texts(frame: pd.DataFrame, digits: int = 3) -> list[list[str]]:
    """Any small frame as it is shown; a column of whole numbers is printed without a fraction."""
    whole = {n for n, c in frame.items() if c.dtype.kind == "f" and (c.dropna() % 1 == 0).all()}
    return [
        [_text(v, 0 if name in whole else digits) for name, v in line.items()]
        for _, line in frame.iterrows()
    ]


def _text(value: object, digits: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isnan(value):
            return "–"
        if value == 0 or abs(value) >= 0.5 * 10**-digits:
            return f"{value:.{digits}f}"
        return f"{value:.1e}"
    return str(value)


def write_shown(
    folder: Path, name: str, frame: pd.DataFrame, digits: int = 3, wrap: Collection[str] = ()
) -> list[Path]:
    """A table of a page as <name>.csv and, as it is shown there, <name>.tex.

    The LaTeX table needs the packages booktabs and, for columns of text, array.

    Args:
        wrap: columns of text, which share what the others leave of the line.
    """
    width = f"{RAGGED}{{{0.7 / max(len(wrap), 1):.2f}\\linewidth}}"
    kinds = [
        width if n in wrap else "r" if c.dtype.kind in "fiu" else "l" for n, c in frame.items()
    ]
    head = [str(c).replace("_", " ") for c in frame.columns]
    return [
        write_csv(folder / f"{name}.csv", frame),
        write_text(folder / f"{name}.tex", booktabs(head, texts(frame, digits), "".join(kinds))),
    ]
