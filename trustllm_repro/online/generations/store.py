"""Traces on disk: a folder of shards, each written whole, none ever changed.

A kill loses at most the batch being written, several writers never meet, and a trace that two of
them made is read once. A shard is a safetensors file: one tensor a quantity, all traces of a batch
end to end, and a JSON header with keys, lengths and texts.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from trustllm_repro.errors import SourceCorrupt
from trustllm_repro.online.generations.trace import Trace
from trustllm_repro.store.atomic import write_with

SUFFIX = ".traces"
_ARRAYS = ("ids", "ends", "logp", "entropy", "top_ids", "top_logp")
_FIRST = ("first_ids", "first_logp")
_HEAD = "traces"


class TraceStore:
    """Traces by key.

    Args:
        folder: may be shared by several runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keys(self) -> set[str]:
        """Keys of all traces there are. Raises SourceCorrupt."""
        return {t["key"] for path in self._shards() for t in _opened(path, _header)}

    def load(self, wanted: set[str] | None = None) -> dict[str, Trace]:
        """Traces by key, all of them or those wanted.

        Raises:
            SourceCorrupt: a damaged shard, by name.
        """
        found: dict[str, Trace] = {}
        for path in self._shards():
            for trace in _opened(path, lambda f: list(_traces(f, wanted, found.keys()))):
                found[trace.key] = trace
        return found

    def add(self, traces: Sequence[tuple[str, Trace]]) -> None:
        """Write a batch, under keys; when this returns it is on disk.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        if not traces:
            return
        tensors, heads = _joined([replace(t, key=key) for key, t in traces])
        head = {_HEAD: json.dumps(heads, sort_keys=True)}
        target = self.folder / f"{uuid.uuid4().hex}{SUFFIX}"
        write_with(target, lambda p: save_file(tensors, p, metadata=head))

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SUFFIX}"))


def _joined(traces: Sequence[Trace]) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    # Traces of one shard have the same k and layers: they come from one recorder.
    names = (*_ARRAYS, *_FIRST)
    tensors = {n: np.concatenate([getattr(t, n) for t in traces]) for n in names}
    for layer in traces[0].hidden:
        tensors[f"hidden.{layer}"] = np.concatenate([t.hidden[layer] for t in traces])
    heads = [
        {
            "key": t.key,
            "n": len(t),
            "m": len(t.first_ids),
            "text": t.text,
            "finish": t.finish,
            "prompt": t.prompt_tokens,
        }
        for t in traces
    ]
    return {n: np.ascontiguousarray(a) for n, a in tensors.items()}, heads


def _opened(path: Path, read: Callable[[Any], Any]) -> Any:
    try:
        with safe_open(path, framework="np") as f:
            return read(f)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as e:
        raise SourceCorrupt(
            f"{path} cannot be read as traces: {e}",
            remedy="delete that file; the next run makes its traces again",
        ) from e


def _header(f: Any) -> list[dict[str, Any]]:
    return json.loads(f.metadata()[_HEAD])


def _traces(f: Any, wanted: set[str] | None, known: Any) -> Iterator[Trace]:
    heads = _header(f)
    stops = np.cumsum([[h["n"], h["m"]] for h in heads], axis=0)
    whole = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    layers = sorted(int(n.split(".")[1]) for n in whole if n.startswith("hidden."))
    for head, stop in zip(heads, stops, strict=True):
        if head["key"] in known or (wanted is not None and head["key"] not in wanted):
            continue
        part, start = (slice(int(e) - head[c], int(e)) for e, c in zip(stop, "nm", strict=True))
        arrays = {name: whole[name][part].copy() for name in _ARRAYS}
        arrays |= {name: whole[name][start].copy() for name in _FIRST}
        hidden = {n: whole[f"hidden.{n}"][part].copy() for n in layers}
        if len(arrays["ids"]) != head["n"]:
            raise ValueError("fewer tokens than its header tells of")
        yield Trace(
            head["key"], text=head["text"], hidden=hidden, finish=head["finish"],
            prompt_tokens=head["prompt"], **arrays,
        )  # fmt: skip
