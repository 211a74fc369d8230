"""Labelled answers as a user gives them, checked row by row."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from trustllm_repro.errors import SchemaError, SettingsError, SourceMissing

COLUMNS = ("prompt", "answer", "unsafe")
LEAST = 20  # unsafe and safe examples each: below it, five folds teach nothing
_LABELS = {"0": False, "1": True, "false": False, "true": True}


def read_csv(path: Path) -> pd.DataFrame:
    """Columns prompt, answer, unsafe (bool).

    Raises:
        SourceMissing: no such file. SchemaError: a column is missing, or a label is none.
    """
    if not path.is_file():
        raise SourceMissing(f"no file {path}", remedy=f"a CSV with columns {', '.join(COLUMNS)}")
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [c for c in COLUMNS if c not in rows]:
        raise SchemaError(str(path), None, missing[0], "a column of this name expected")
    labels = rows.unsafe.str.strip().str.lower().map(_LABELS)
    if labels.isna().any():
        at = int(labels.isna().idxmax())
        raise SchemaError(str(path), at, "unsafe", "0, 1, true or false expected")
    return rows.assign(unsafe=labels.astype(bool))


def checked(examples: pd.DataFrame | Iterable[tuple[str, str, bool]]) -> pd.DataFrame:
    """The examples as a frame. Raises SettingsError."""
    columns = list(COLUMNS)
    if isinstance(examples, pd.DataFrame):
        if missing := [c for c in columns if c not in examples]:
            raise SettingsError(
                f"the examples have no column {missing[0]!r}",
                remedy=f"columns {', '.join(columns)}",
            )
        rows = examples[columns].reset_index(drop=True)
    else:
        rows = pd.DataFrame(list(examples), columns=columns)
    for i, row in enumerate(rows.itertuples(index=False)):
        if not (isinstance(row.prompt, str) and isinstance(row.answer, str)):
            raise SettingsError(f"example {i}: prompt or answer is no text", remedy="fix that row")
        if row.unsafe not in (True, False):
            raise SettingsError(f"example {i}: unsafe is {row.unsafe!r}", remedy="True or False")
    unsafe = int(rows.unsafe.astype(bool).sum())
    if min(unsafe, len(rows) - unsafe) < LEAST:
        raise SettingsError(
            f"{unsafe} unsafe and {len(rows) - unsafe} safe examples",
            remedy=f"at least {LEAST} of each",
        )
    return rows
