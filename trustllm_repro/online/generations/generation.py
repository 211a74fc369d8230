"""Generations: answers as monitors see them, token by token, and how they are kept on disk.

Traces are kept in shards, safetensors files that are written whole and never changed: arrays by the
number of their trace, and a JSON header with keys and texts. A kill loses at most one batch, several
writers never meet, and a trace that two of them made is read once.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from trustllm_repro.errors import SourceCorrupt
from trustllm_repro.store.atomic import JsonLines, write_json, write_with

SUFFIX = ".traces"
INDEX = "generations.json"
_HEAD = "traces of one tensor each"
_TRACE_FACTS = ("key", "text", "finish", "prompt_tokens")
_ARRAYS = ("ids", "ends", "logp", "entropy", "top_ids", "top_logp", "first_ids", "first_logp")
_FACTS = ("prompt", "model", "task", "case", "group", "unsafe", "disputed", "author")


@dataclass(frozen=True, eq=False)
class Trace:
    """What is known of every token of one answer, n tokens long.

    Everything about token i is known before it is shown: its distribution, and the hidden state
    this was computed from, that of the token before (for the first, the prompt's last). So a
    monitor could hold that token back.
    """

    key: str  # of the request, or of the text that was read; see models.base.content_key
    ids: np.ndarray  # (n,) int32
    text: str
    ends: np.ndarray  # (n,) int32, characters of `text` that tokens 0 to i make up; never falling
    logp: np.ndarray  # (n,) float32, nats, of the chosen token
    entropy: np.ndarray  # (n,) float32, nats, of the whole distribution
    top_ids: np.ndarray  # (n, 5) int32, the most likely tokens, best first
    top_logp: np.ndarray  # (n, 5) float32, nats
    # (m,), the same of the first token, m of them.
    first_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    first_logp: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    # Layer, from 1 to the number of blocks -> (n, size) float16, the block's output.
    hidden: Mapping[int, np.ndarray] = field(default_factory=dict)
    finish: str = "given"  # why it ended; so for text that was read
    prompt_tokens: int = 0  # seen before the answer

    def __len__(self) -> int:
        return len(self.ids)

    def prefix(self, n: int) -> str:
        """Text of the first n tokens."""
        return self.text[: self.ends[n - 1]] if n > 0 and len(self) else ""


@dataclass(frozen=True, eq=False)
class Generation:
    """An answer of a model, or a given one that it has read. What nobody asked for is empty."""

    trace: Trace
    prompt: str = ""
    model: str = ""
    task: str = ""
    case: int = 0  # its number within its task
    group: str = ""  # answers to one prompt share it
    unsafe: bool | None = None  # by the judge of the task; None: it cannot tell
    disputed: bool = False  # those who labelled it differ
    author: str = ""  # of a given answer, where that is known
    samples: Sequence[Trace] = ()  # further answers to the prompt
    # Kind of position -> texts of the answers that go on from other tokens there.
    branches: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # Name of a question -> by checkpoint: tokens read, score from 0 to 1, and the score if of each
    # reply only the word is known, yes or no.
    replies: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)


# The sign that ends a sentence, with closing quotes and ends of lines; or the end of a line.
_END = re.compile(r"""(?:[.!?]+["')\]]*(?=\s)|[。！？])\n*|\n+""")


def sentence_ends(text: str) -> np.ndarray:
    """Where sentences end, as numbers of characters; the text's own end is not among them."""
    return np.array([m.end() for m in _END.finditer(text) if m.end() < len(text)], dtype=np.int64)


def token_ends(tokenizer, ids: Sequence[int], text: str) -> np.ndarray:
    """See Trace.ends. A character of several tokens counts with its last one."""
    pieces = tokenizer.batch_decode([[i] for i in ids], skip_special_tokens=True)
    if "".join(pieces) == text:
        return np.cumsum([len(p) for p in pieces], dtype=np.int32)
    prefixes = [list(ids[: i + 1]) for i in range(len(ids))]
    return shared_ends(tokenizer.batch_decode(prefixes, skip_special_tokens=True), text)


def shared_ends(prefixes: Sequence[str], text: str) -> np.ndarray:
    """How many characters each decoded prefix shares with the text, never falling: bytes of an
    unfinished character decode to something else."""
    shared = [len(commonprefix([said, text])) for said in prefixes]  # noqa: RUF071 (no paths)
    return np.maximum.accumulate(shared, dtype=np.int32)


def save_traces(folder: Path, traces: Sequence[Trace]) -> None:
    """Write a batch; when this returns it is on disk. Raises OutputError."""
    if not traces:
        return
    tensors: dict[str, np.ndarray] = {}
    for i, t in enumerate(traces):
        arrays = {n: getattr(t, n) for n in _ARRAYS} | {str(k): v for k, v in t.hidden.items()}
        tensors |= {f"{i}.{n}": np.ascontiguousarray(a) for n, a in arrays.items()}
    head = {_HEAD: json.dumps([{n: getattr(t, n) for n in _TRACE_FACTS} for t in traces])}
    target = folder / f"{uuid.uuid4().hex}{SUFFIX}"
    write_with(target, lambda p: save_file(tensors, p, metadata=head))


def load_traces(folder: Path, wanted: set[str]) -> dict[str, Trace]:
    """Those of the folder whose key is wanted, by key. Raises SourceCorrupt: a damaged shard."""
    found: dict[str, Trace] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            with safe_open(path, framework="np") as shard:
                of_first = {n[2:] for n in shard.keys() if n.startswith("0.")}  # noqa: SIM118
                layers = sorted(int(n) for n in of_first - set(_ARRAYS))
                for i, facts in enumerate(json.loads(shard.metadata()[_HEAD])):
                    if facts["key"] in wanted and facts["key"] not in found:
                        arrays = {n: shard.get_tensor(f"{i}.{n}") for n in _ARRAYS}
                        hidden = {n: shard.get_tensor(f"{i}.{n}") for n in layers}
                        found[facts["key"]] = Trace(**facts, **arrays, hidden=hidden)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as e:
            raise SourceCorrupt(
                f"{path} cannot be read as traces: {e}",
                remedy="delete that file; the next run makes its traces again",
            ) from e
    return found


def write_index(folder: Path, generations: Sequence[Generation]) -> Path:
    """Facts and keys, next to the traces of a model and task. Raises OutputError."""
    rows = [
        {k: getattr(g, k) for k in _FACTS}
        | {"key": g.trace.key, "samples": [t.key for t in g.samples]}
        for g in generations
    ]
    return write_json(folder / INDEX, rows)


def read_generations(folder: Path) -> list[Generation]:
    """Those of the last run of a model and task, with all that was made for monitors.

    Raises SourceCorrupt: the index or a trace is damaged or gone.
    """
    path = folder / INDEX
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        answers = load_traces(folder / "answers", {r["key"] for r in rows})
        samples = load_traces(folder / "samples", {k for r in rows for k in r["samples"]})
        extras = {kind: read_extras(folder, kind) for kind in ("branches", "replies")}
        return [
            Generation(
                answers[r["key"]],
                **{k: r[k] for k in _FACTS},
                samples=[samples[k] for k in r["samples"]],
                **{kind: known.get(r["key"], {}) for kind, known in extras.items()},
            )
            for r in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise SourceCorrupt(
            f"{path} or the traces it names cannot be read: {type(e).__name__}: {e}",
            remedy="run the same `trustllm-repro monitor` command again",
        ) from e


def read_extras(folder: Path, kind: str) -> dict[str, Any]:
    """What was made of a kind ("branches", "replies"), by the key of the answer it was made for."""
    return {row["key"]: row["value"] for row in JsonLines(folder / f"{kind}.jsonl").read()}
