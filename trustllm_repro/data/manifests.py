"""The committed facts about sources and published numbers: CSV files below data/."""

from __future__ import annotations

import csv
from functools import cache

from trustllm_repro.errors import SourceMissing
from trustllm_repro.paths import data_dir


@cache
def facts(name: str) -> list[dict[str, str]]:
    """Rows of data/<name>.csv."""
    path = data_dir() / f"{name}.csv"
    if not path.exists():
        raise SourceMissing(f"no file {path}", remedy="restore it with `git checkout -- data`")
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def manifest(name: str) -> dict[str, dict[str, str]]:
    """Rows of data/manifests/<name>.csv (paths, sizes, hashes) by their `path` column."""
    return {row["path"]: row for row in facts(f"manifests/{name}")}
