"""Tables as tidy CSV and as LaTeX (booktabs)."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from trustllm_repro.data.published import label
from trustllm_repro.errors import ReproError, SourceCorrupt
from trustllm_repro.schema import OUR_JUDGE, Rule
from trustllm_repro.scoring.cells import FIELDS
from trustllm_repro.store.atomic import write_text

# Six significant digits keep the files readable and free of the last-bit noise of other BLAS builds.
FLOAT = "%.6g"
TIDY = FIELDS[1:]  # all but the table, which is the file
VERIFY = [
    "table", "row", "column", "published", "value", "difference", "rule", "verdict", "n", "reason"
]  # fmt: skip


def write_csv(path: Path, frame: pd.DataFrame, float_format: str | None = FLOAT) -> Path:
    return write_text(
        path, frame.to_csv(index=False, float_format=float_format, lineterminator="\n")
    )


def write_tables(cells: pd.DataFrame, folder: Path, rule: Rule = Rule.AUTHORS) -> list[Path]:
    """tables/<id>.csv and .tex for every published table in `cells`."""
    paths = []
    for table, part in cells.groupby("table", sort=False):
        paths.append(write_csv(folder / f"{table}.csv", part[TIDY]))
        paths.append(write_text(folder / f"{table}.tex", latex(part, rule)))
    return paths


def verify_frame(cells: pd.DataFrame) -> pd.DataFrame:
    """One line per published cell under the authors' rule, then those of our judge's labels."""
    lines = cells[cells["rule"].isin([Rule.AUTHORS, OUR_JUDGE]) & cells["published"].notna()]
    lines = lines.sort_values("rule", key=lambda s: s == OUR_JUDGE, kind="stable")
    return lines.rename(columns={"model": "row"})[VERIFY].reset_index(drop=True)


def write_verify(cells: pd.DataFrame, path: Path) -> Path:
    # Full precision: a checker compares `published` with the sheet and the verdict with the gap.
    return write_csv(path, verify_frame(cells), float_format=None)


def read_verify(path: Path) -> pd.DataFrame:
    """verify.csv of a run.

    Raises:
        ReproError: it does not exist, or is not such a file.
    """
    remedy = "run `trustllm-repro replay` or `reproduce`"
    if not path.exists():
        raise ReproError(f"{path} does not exist", remedy=remedy)
    try:
        frame = pd.read_csv(path)
    except (ValueError, OSError) as e:  # pandas' parser errors are ValueErrors
        raise SourceCorrupt(f"{path} cannot be read: {e}", remedy=remedy) from e
    if list(frame.columns) != VERIFY:
        raise SourceCorrupt(f"{path} does not have the columns {', '.join(VERIFY)}", remedy=remedy)
    return frame


def number(value: float, digits: int = 3) -> str:
    """Fixed digits without a leading zero's ambiguity; a dash where there is no number."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def wide(cells: pd.DataFrame, table: str, rule: Rule | str, value: str = "value") -> pd.DataFrame:
    """One table as rows by columns, published order."""
    part = cells[(cells["table"] == table) & (cells["rule"] == rule)]
    rows, columns = part["model"].unique(), part["column"].unique()
    return part.pivot(index="model", columns="column", values=value).loc[rows, columns]


def latex(part: pd.DataFrame, rule: Rule = Rule.AUTHORS) -> str:
    """Booktabs table: value under one rule, and the published one in brackets.

    Rows nothing was recorded for are left to the CSV; a dash marks a cell without a value.
    """
    table = str(part["table"].iloc[0])
    value, published = (wide(part, table, rule, v) for v in ("value", "published"))
    value = value[value.notna().any(axis=1)]
    if value.empty:
        return f"% {table}: no cell can be recomputed from the recorded answers\n"
    text = value.map(number) + " (" + published.loc[value.index].map(number) + ")"
    text = text.where(value.notna(), "–")
    text.index = pd.Index([label(m) for m in text.index], name="model")
    text.columns.name = None
    text = text.reset_index()
    styler = (
        text.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    )
    body = styler.to_latex(hrules=True, column_format="l" + "r" * (text.shape[1] - 1))
    name = "authors'" if rule is Rule.AUTHORS else str(rule)
    note = f"% {table}: recomputed under the {name} rule (published); all rules in {table}.csv\n"
    return note + body.replace("–", "--")
