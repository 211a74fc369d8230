"""The small world as the fault tests use it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from tests.small import Row, SmallWorld, benchmark_rows


def _rows() -> dict[str, list[Row]]:
    """Every row of ood_detection names a source, which `SmallWorld.answers` asks for."""
    rows = benchmark_rows()
    name = "robustness/ood_detection"
    return rows | {name: [{"source": "ood", **r} for r in rows[name]]}


class World(SmallWorld):
    """SmallWorld whose files can be read, changed and damaged one by one."""

    def __init__(self, root: Path) -> None:
        with patch("tests.small.benchmark_rows", _rows):
            super().__init__(root)
