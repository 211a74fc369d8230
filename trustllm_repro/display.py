"""Frames in a notebook: styled, and escaped, since names and answers can hold anything."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from trustllm_repro.escape import without_controls

# Colours of words that judge something; readable in light and dark.
_TAGS = {
    "reproduced": "#d7e8f5;color:#024a7a", "supported": "#d7e8f5;color:#024a7a",
    "near": "#d5efe4;color:#00543b",
    "differs": "#fbdcd0;color:#8a2c00", "not supported": "#fbdcd0;color:#8a2c00",
    "artefact": "#fce9c2;color:#6b4400",
    "not recorded": "#ececec;color:#555", "not published": "#ececec;color:#555",
    "not decidable from records": "#ececec;color:#555",
}  # fmt: skip
_STYLES: list[dict[str, Any]] = [
    {"selector": "", "props": "border-collapse:collapse;font-size:13px"},
    {
        "selector": "th, td",
        "props": "text-align:left;vertical-align:top;padding:.25em .6em;white-space:nowrap;"
        "border-bottom:1px solid rgba(128,128,128,.3)",
    },
    {"selector": "thead th", "props": "border-bottom:2px solid rgba(128,128,128,.8)"},
    {"selector": "td", "props": "font-variant-numeric:tabular-nums"},
]


def show(frame: pd.DataFrame, digits: int = 3, wrap: Sequence[str] = ()) -> Styler:
    """A frame as a styled table; every text is escaped, and verdicts are coloured.

    Args:
        digits: after the point; whole numbers have none, absent ones are a dash.
        wrap: columns of long text, which may break lines.
    """
    if not frame.index.is_unique:  # which the styler cannot draw
        frame = frame.reset_index()
    whole = {
        c for c, s in frame.items()
        if s.dtype.kind in "iu" or (s.dtype.kind == "f" and (s.dropna() % 1 == 0).all())
    }  # fmt: skip
    formats = {c: _format(0 if c in whole else digits) for c in frame.columns}
    # Rules of a column: those of single cells would lose against the nowrap of all cells.
    broken = [{"selector": "td", "props": "white-space:normal;min-width:16em"}]
    styler = (
        Styler(frame, cell_ids=False)
        .format(formats, escape="html")
        .format_index(without_controls, escape="html")
        .format_index(lambda v: without_controls(v).replace("_", " "), escape="html", axis=1)
        .set_table_styles(_STYLES)
        .map(lambda v: f"background-color:{_TAGS[v]}" if isinstance(v, str) and v in _TAGS else "")
        .set_table_styles(dict.fromkeys(wrap, broken), overwrite=False)
    )
    return styler.hide(axis="index") if isinstance(frame.index, pd.RangeIndex) else styler


def _format(digits: int) -> Any:
    def text(value: object) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "–"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            small = value != 0 and abs(value) < 0.5 * 10**-digits
            return f"{value:.1e}" if small else f"{value:.{digits}f}"
        return without_controls(value)

    return text
