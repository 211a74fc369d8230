"""Which stored traces are the generations of a model and task: what reads them needs no model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trustllm_repro.errors import SourceCorrupt
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.generations.store import TraceStore
from trustllm_repro.store.append import JsonLines
from trustllm_repro.store.atomic import write_json

NAME = "generations.json"
_FACTS = ("prompt", "model", "task", "case", "group", "unsafe", "disputed", "author")


def write_index(folder: Path, generations: Sequence[Generation]) -> Path:
    """Facts and keys, next to the traces of a model and task. Raises OutputError."""
    rows = [
        {k: getattr(g, k) for k in _FACTS}
        | {"key": g.trace.key, "samples": [t.key for t in g.samples]}
        for g in generations
    ]
    return write_json(folder / NAME, rows)


def read_generations(folder: Path) -> list[Generation]:
    """Those of the last run, whatever monitors may need included.

    Raises:
        SourceCorrupt: the index or a trace is damaged or gone.
    """
    path = folder / NAME
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        answers = TraceStore(folder / "answers").load({r["key"] for r in rows})
        samples = TraceStore(folder / "samples").load({k for r in rows for k in r["samples"]})
        branches, replies = (_extras(folder, kind) for kind in ("branches", "replies"))
        return [
            Generation(
                answers[r["key"]],
                **{k: r[k] for k in _FACTS},
                samples=[samples[k] for k in r["samples"]],
                branches=branches.get(r["key"], {}),
                replies={n: reply_rows(v) for n, v in replies.get(r["key"], {}).items()},
            )
            for r in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise SourceCorrupt(
            f"{path} or the traces it names cannot be read: {type(e).__name__}: {e}",
            remedy="run the same `trustllm-repro monitor` command again",
        ) from e


def _extras(folder: Path, kind: str) -> dict[str, Any]:
    rows = JsonLines(folder / f"{kind}.jsonl").read()
    return {r["key"]: r["value"] for r in rows if r.get("kind") == kind}


def reply_rows(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """See Generation.replies."""
    return np.array(rows, dtype=float) if len(rows) else np.zeros((0, 3))
