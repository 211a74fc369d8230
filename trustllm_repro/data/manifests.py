"""The committed facts about sources: paths, sizes and hashes, as CSV under data/manifests."""

from __future__ import annotations

import csv
from functools import cache

from trustllm_repro.errors import SourceMissing
from trustllm_repro.paths import data_dir


@cache
def manifest(name: str) -> dict[str, dict[str, str]]:
    """Rows of data/manifests/<name>.csv by their `path` column."""
    path = data_dir() / "manifests" / f"{name}.csv"
    if not path.exists():
        raise SourceMissing(f"no manifest {path}", remedy="restore it with `git checkout -- data`")
    with open(path, newline="", encoding="utf-8") as f:
        return {row["path"]: row for row in csv.DictReader(f)}
