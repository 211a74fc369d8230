"""Traces on disk: a folder of shards, each written whole, none ever changed.

A kill loses at most the batch being written, several writers never meet, and a trace that two of
them made is read once. A shard is a safetensors file: the arrays of each trace by its number in the
shard, and a JSON header with keys and texts.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from trustllm_repro.errors import SourceCorrupt
from trustllm_repro.online.generations.trace import Trace
from trustllm_repro.store.atomic import write_with

SUFFIX = ".traces"
_ARRAYS = ("ids", "ends", "logp", "entropy", "top_ids", "top_logp", "first_ids", "first_logp")
_FACTS = ("text", "finish", "prompt_tokens")
_HEAD = "traces of one tensor each"


class TraceStore:
    """Traces by key.

    Args:
        folder: may be shared by several runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, wanted: set[str] | None = None) -> dict[str, Trace]:
        """Traces by key, all of them or those wanted.

        Raises:
            SourceCorrupt: a damaged shard, by name.
        """
        found: dict[str, Trace] = {}
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                found |= {t.key: t for t in _traces(path, wanted, set(found))}
            except (OSError, SafetensorError, ValueError, KeyError, TypeError) as e:
                raise SourceCorrupt(
                    f"{path} cannot be read as traces: {e}",
                    remedy="delete that file; the next run makes its traces again",
                ) from e
        return found

    def add(self, traces: Sequence[tuple[str, Trace]]) -> None:
        """Write a batch, under keys; when this returns it is on disk.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        if not traces:
            return
        heads = [{"key": key, **{n: getattr(t, n) for n in _FACTS}} for key, t in traces]
        tensors: dict[str, np.ndarray] = {}
        for i, (_, t) in enumerate(traces):
            arrays = {n: getattr(t, n) for n in _ARRAYS} | {str(k): v for k, v in t.hidden.items()}
            tensors |= {f"{i}.{n}": np.ascontiguousarray(a) for n, a in arrays.items()}
        target = self.folder / f"{uuid.uuid4().hex}{SUFFIX}"
        head = {_HEAD: json.dumps(heads)}
        write_with(target, lambda p: save_file(tensors, p, metadata=head))


def _traces(path: Path, wanted: set[str] | None, known: set[str]) -> Iterator[Trace]:
    with safe_open(path, framework="np") as f:
        names = set(f.keys())
        layers = sorted(int(n[2:]) for n in names if n.startswith("0.") and n[2:].isdigit())
        for i, head in enumerate(json.loads(f.metadata()[_HEAD])):
            if head["key"] in known or (wanted is not None and head["key"] not in wanted):
                continue
            arrays = {n: f.get_tensor(f"{i}.{n}") for n in _ARRAYS}
            hidden = {n: f.get_tensor(f"{i}.{n}") for n in layers}
            yield Trace(**head, **arrays, hidden=hidden)
