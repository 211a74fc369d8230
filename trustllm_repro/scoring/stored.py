"""Scored cells as a file, with a mark of what they were scored from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.paths import data_dir
from trustllm_repro.store.archive import sha256
from trustllm_repro.store.atomic import write_with

CELLS = "cells.parquet"
_MARK = b"scored from"
REMEDY = "run `trustllm-repro replay` or `evaluate` again; cells are made from the ledger"


def committed_ledger() -> Path:
    """The committed verdicts of the recorded models, with their scored cells."""
    return data_dir() / "ledger"


def scored_from(folder: Path) -> str:
    """Digest of everything scores rest on: a folder's verdicts and items, the published numbers,
    and the measured errors of our judges."""
    files = [
        folder / "items.parquet",
        folder / "ledger.parquet",
        data_dir() / "published" / "cells.csv",
        data_dir() / "measurements" / "judges.json",
    ]
    return sha256("".join(sha256(p.read_bytes()) for p in files if p.exists()).encode())


def write_cells(cells: pd.DataFrame, folder: Path) -> Path:
    """Write the cells of the ledger that lies in `folder`, whole or not at all."""
    table = pa.Table.from_pandas(cells, preserve_index=False)
    mark = {**(table.schema.metadata or {}), _MARK: scored_from(folder).encode()}
    table = table.replace_schema_metadata(mark)
    return write_with(folder / CELLS, lambda p: pq.write_table(table, p, compression="zstd"))


def read_cells(folder: Path) -> pd.DataFrame:
    """The cells of a folder.

    Raises:
        SourceMissing, SourceCorrupt: there are none, they cannot be read, or they were scored from
            other verdicts than those that lie there.
    """
    path = folder / CELLS
    if not path.exists():
        raise SourceMissing(f"no scored cells {path}", remedy=REMEDY)
    try:
        table = pq.read_table(path)
        cells = table.to_pandas()
    except (OSError, ValueError, pa.ArrowException) as e:
        raise SourceCorrupt(f"{path} cannot be read: {e}", remedy=REMEDY) from e
    if (table.schema.metadata or {}).get(_MARK) != scored_from(folder).encode():
        raise SourceCorrupt(f"{path} was scored from another ledger or judge", remedy=REMEDY)
    return cells
