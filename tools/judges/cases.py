"""Cases with a label of ours, one a line of a CSV file under data/judges."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from trustllm_repro.errors import SchemaError, SourceMissing


def labelled(path: Path, labels: Collection[str]) -> list[dict[str, str]]:
    """Rows of a file with a column `label`.

    Raises:
        SourceMissing: no such file. SchemaError: an unknown label, or a field left out.
    """
    if not path.exists():
        raise SourceMissing(f"no {path}", remedy="restore it with `git checkout -- data/judges`")
    with open(path, newline="", encoding="utf-8") as f:
        found = list(csv.DictReader(f))
    for i, row in enumerate(found):
        if row.get("label") not in labels:
            raise SchemaError(path.name, i, "label", f"one of {', '.join(labels)} expected")
        if any(v is None or k is None for k, v in row.items()):
            raise SchemaError(path.name, i, "", "as many fields as the first line has expected")
    return found
