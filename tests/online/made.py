"""Traces made here, with the numbers a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trustllm_repro.online.generations.generation import Generation, Trace


def trace(
    pieces: Sequence[str],
    logp: Sequence[float] | None = None,
    entropy: Sequence[float] | None = None,
    hidden: np.ndarray | None = None,
    first: dict[int, float] | None = None,
    top: np.ndarray | None = None,
) -> Trace:
    """A trace of tokens spelled `pieces`; what is not given is zero."""
    n = len(pieces)
    ends = np.cumsum([len(p) for p in pieces], dtype=np.int32)
    first = first or {}
    return Trace(
        "k",
        np.arange(n, dtype=np.int32),
        "".join(pieces),
        ends,
        np.array(logp if logp is not None else [0.0] * n, np.float32),
        np.array(entropy if entropy is not None else [0.0] * n, np.float32),
        np.zeros((n, 5), np.int32),
        np.zeros((n, 5), np.float32) if top is None else np.asarray(top, np.float32),
        np.array(list(first), np.int32),
        np.array(list(first.values()), np.float32),
        {} if hidden is None else {1: np.asarray(hidden, np.float16)},
    )


def part(whole: Trace, start: int, stop: int) -> Trace:
    """Tokens `start` to `stop` - 1, with their text; `finish` is "" if others follow."""
    ends = whole.ends[:stop]
    before = int(ends[start - 1]) if start else 0
    arrays = ("ids", "logp", "entropy", "top_ids", "top_logp")
    first = slice(0, 0) if start else slice(None)  # the first token alone has it
    return replace(
        whole,
        text=whole.text[before : ends[-1]] if len(ends) else "",
        ends=ends[start:] - before,
        first_ids=whole.first_ids[first],
        first_logp=whole.first_logp[first],
        hidden={layer: states[start:stop] for layer, states in whole.hidden.items()},
        finish="" if stop < len(whole) else whole.finish,
        **{name: getattr(whole, name)[start:stop] for name in arrays},
    )


def words(text: str, **more) -> Trace:
    """One token a word, each but the first with the blank before it."""
    first, *rest = text.split(" ") if text else [""]
    return trace([first, *(f" {w}" for w in rest)] if text else [], **more)


def states(
    seed: int, answers: int, tokens: int, size: int = 8, shift: float = 0.0
) -> list[Generation]:
    """Answers with normal hidden states whose first dimension is moved by `shift`."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(answers):
        hidden = draw.normal(size=(tokens, size))
        hidden[:, 0] += shift
        found.append(Generation(trace(["x"] * tokens, hidden=hidden)))
    return found
