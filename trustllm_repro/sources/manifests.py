"""The committed facts about sources: paths, sizes and hashes, as CSV under data/manifests."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from trustllm_repro.errors import SourceMissing


def project_root() -> Path:
    """The checkout that holds data/, notebooks/ and figures/ (installed in editable mode)."""
    return Path(__file__).resolve().parents[2]


def data_dir() -> Path:
    return project_root() / "data"


@cache
def manifest(name: str) -> dict[str, dict[str, str]]:
    """Rows of data/manifests/<name>.csv by their `path` column."""
    path = data_dir() / "manifests" / f"{name}.csv"
    if not path.exists():
        raise SourceMissing(f"no manifest {path}", remedy="restore it with `git checkout -- data`")
    with open(path, newline="", encoding="utf-8") as f:
        return {row["path"]: row for row in csv.DictReader(f)}
