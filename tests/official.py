"""Output of the official package, made up from the miniature, in both of its layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trustllm_repro.data.benchmark import FILES
from trustllm_repro.paths import data_dir

Row = dict[str, Any]
Change = Callable[[str, list[Row]], list[Row]]


def questions(name: str) -> list[Row]:
    """Rows of one file of the miniature."""
    return json.loads((data_dir() / "miniature" / f"{name}.json").read_text(encoding="utf-8"))


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def answered(name: str) -> list[Row]:
    """Every question with an answer that names its place; the labels alternate."""
    return [
        {**row, "res": f"Reply {i} to {name}, yes.", "eval_res": f"LABEL_{i % 2}"}
        for i, row in enumerate(questions(name))
    ]


def old_layout(root: Path, model: str = "mine-7b", names=FILES, change: Change | None = None):
    """generation_results/<model>/<section>/<file>.json below `root`."""
    for name in names:
        rows = answered(name)
        put(
            root / "generation_results" / model / f"{name}.json",
            change(name, rows) if change else rows,
        )
    return root


def run_file(model: str, section: str) -> Row:
    return {
        "schema_version": 1,
        "settings": {
            "model": {"backend": "local", "model": model},
            "task": section,
            "limit": None,
            "max_new_tokens": 512,
        },
        "status": "completed",
        "output_dir": "/somewhere/private",
    }


def new_layout(root: Path, model: str = "mine-7b", names=FILES, change: Change | None = None):
    """A folder a section with run.json, as the release of October 2026 leaves it."""
    for name in names:
        section, file = name.split("/")
        folder = root / f"api-{section}"
        rows = answered(name)
        put(folder / f"{file}.json", change(name, rows) if change else rows)
        put(folder / "run.json", run_file(model, section))
        (folder / "samples.jsonl").write_text("{}\n", encoding="utf-8")
    return root
