"""The code cells of a notebook, run in this process, with a line changed if wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat

from trustllm_repro.paths import project_root


def run_cells(name: str, changes: dict[str, str] | None = None, **parameters: Any) -> dict:
    """Names that the cells leave behind.

    Args:
        changes: a line of a cell -> what stands there instead; each must be found once.
        parameters: replace those of the parameters cell.
    """
    folder = project_root() / "notebooks"
    book = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    left = dict(changes or {})
    space: dict[str, Any] = {"display": lambda *_: None}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for cell in (c for c in book.cells if c.cell_type == "code"):
            source = cell.source
            for old in [o for o in left if o in source]:
                source = source.replace(old, left.pop(old), 1)
            exec(compile(source, f"{name}.ipynb", "exec"), space)
            if "parameters" in cell.metadata.get("tags", []):
                space |= parameters
    finally:
        os.chdir(before)
        plt.close("all")
    assert not left, f"{name} has no such lines: {list(left)}"
    return space
