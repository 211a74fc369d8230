"""What can be seen of a model: text only, five log-probabilities a token, all of them, or states.

The two lower levels are those of endpoints; what a trace of their answers lacks is NaN. Further
answers are further requests, so all levels have them. Where no log-probabilities are shown, a reply
to a question is a word, "yes" or "no", and not a probability.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from trustllm_repro.models.base import Completion
from trustllm_repro.models.endpoint import TOP_LOGPROBS, TokenLogprobs
from trustllm_repro.online.generations.generation import Generation, Trace, shared_ends
from trustllm_repro.online.monitors.base import Monitor, Need, of_top

# An endpoint's tokens have no numbers. A hash of the text serves, the same in every run; among 500
# different tokens, two share a number with a chance of about 0.4.
NUMBERS = 2**18


@dataclass(frozen=True)
class Level:
    """`lacks`: what is not seen, and why. `coarse`: what is seen less exactly than of a model on
    this machine."""

    name: str
    lacks: Mapping[Need, str] = field(default_factory=dict)
    coarse: frozenset[Need] = frozenset()

    def why_not(self, monitor: Monitor) -> str:
        """Why the monitor cannot run here, or ""."""
        missing = [why for need, why in self.lacks.items() if need in monitor.needs]
        return "; ".join(dict.fromkeys(missing))

    def changes(self, monitor: Monitor) -> bool:
        """Whether it runs here, but sees something less exactly."""
        return bool(monitor.needs & self.coarse) and not self.why_not(monitor)


_STATES = {Need.HIDDEN: "no hidden states are shown"}
_BRANCHES = {Need.BRANCHES: "no answer can be made to go on from another token"}
_NUMBERS = dict.fromkeys(
    (Need.LOGP, Need.ENTROPY, Need.TOP, Need.FIRST), "the endpoint shows no log-probabilities"
)
TEXT = Level("text", {**_NUMBERS, **_BRANCHES, **_STATES}, frozenset({Need.REPLIES}))
TOP5 = Level("5 log-probabilities", {**_BRANCHES, **_STATES}, frozenset({Need.ENTROPY, Need.FIRST}))
PROBABILITIES = Level("all probabilities", _STATES)
STATES = Level("hidden states")
# From the least that is seen to the most.
LEVELS = {level.name: level for level in (TEXT, TOP5, PROBABILITIES, STATES)}


def level_of(generations: Sequence[Generation]) -> Level:
    """What was seen of the model that gave them: a token of any answer came with its states, or
    with its log-probability, or the text alone."""
    if any(g.trace.hidden for g in generations):
        return STATES
    return TOP5 if any(np.isfinite(g.trace.logp).any() for g in generations) else TEXT


def runs_at(monitors: Mapping[str, Monitor]) -> pd.DataFrame:
    """monitor, access, level, runs (bool), coarse (bool: it sees less exactly), reason."""
    return pd.DataFrame(
        [
            {
                "monitor": name, "access": str(m.access), "level": level.name,
                "runs": not level.why_not(m), "coarse": level.changes(m),
                "reason": level.why_not(m),
            }
            for name, m in monitors.items()
            for level in LEVELS.values()
        ]
    )  # fmt: skip


def mask(generation: Generation, level: Level) -> Generation:
    """The same answer as it would be seen at a level; what the level does not show is gone."""
    trace, replies = generation.trace, generation.replies
    if Need.HIDDEN in level.lacks:
        trace = replace(trace, hidden={})
    if Need.ENTROPY in level.coarse:
        trace = top_only(trace)
    if Need.LOGP in level.lacks:  # where its pieces end is left: text may be streamed
        trace = replace(trace, **_unknown(len(trace)))
    if Need.REPLIES in level.coarse:  # of each, only the word is known
        replies = {question: rows[:, [0, 2, 2]] for question, rows in replies.items()}
    branches = {} if Need.BRANCHES in level.lacks else generation.branches
    return replace(generation, trace=trace, replies=replies, branches=branches)


def top_only(trace: Trace) -> Trace:
    """With the five most likely tokens alone; entropy is then that of the five (of_top)."""
    k = TOP_LOGPROBS
    cut = replace(
        trace, top_ids=trace.top_ids[:, :k], top_logp=trace.top_logp[:, :k],
        first_ids=trace.first_ids[:k], first_logp=trace.first_logp[:k],
    )  # fmt: skip
    return replace(cut, entropy=of_top(cut).astype(np.float32))


def _unknown(n: int) -> dict[str, np.ndarray]:
    """Arrays of a trace of n pieces whose tokens are not shown."""
    return {
        "ids": np.full(n, -1, np.int32),
        "logp": np.full(n, np.nan, np.float32),
        "entropy": np.full(n, np.nan, np.float32),
        "top_ids": np.full((n, TOP_LOGPROBS), -1, np.int32),
        "top_logp": np.full((n, TOP_LOGPROBS), np.nan, np.float32),
        "first_ids": np.zeros(0, np.int32),
        "first_logp": np.zeros(0, np.float32),
    }


def trace_of(done: Completion, shown: Sequence[TokenLogprobs]) -> Trace:
    """What is known of an answer of which these tokens were shown.

    Without any, the pieces of the trace are words, and all numbers are NaN. Entropy is that of the
    most likely tokens (top_only); a place at which fewer than two are known has none.
    """
    text = done.text or ""
    pieces = [s.said for s in shown] or [w.encode("utf-8", "surrogatepass") for w in words(text)]
    known = _unknown(len(pieces))
    ids, logp = known["top_ids"], known["top_logp"]
    for i, token in enumerate(shown):
        known["ids"][i] = number(token.said.decode("utf-8", "replace"))
        known["logp"][i] = token.nats
        if (k := len(token.top)) > 1:
            ids[i, :k] = [number(t) for t, _ in token.top]
            logp[i] = [*(p for _, p in token.top), *[-np.inf] * (TOP_LOGPROBS - k)]
    first = np.isfinite(logp[:1])
    known |= {"first_ids": ids[:1][first], "first_logp": logp[:1][first]}
    facts = {"finish": str(done.finish), "prompt_tokens": done.prompt_tokens}
    trace = Trace("", text=text, ends=ends_of(pieces, text), **known, **facts)
    return top_only(trace) if shown else trace


def words(text: str) -> list[str]:
    """Pieces of a text that make it up again: words, each with the blanks before it."""
    return re.findall(r"\s*\S+(?:\s+\Z)?|\s+\Z", text)


def number(token: str) -> int:
    """Of a token's text, below NUMBERS."""
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) % NUMBERS


def ends_of(pieces: Sequence[bytes], text: str) -> np.ndarray:
    """Characters of `text` that the first i + 1 pieces make up, (n,) int32, never falling.

    Servers cut blanks off the text's ends, and may add an end token to the pieces. Where the pieces
    make up another text all the same, the characters are shared out by their lengths.
    """
    sizes = np.cumsum([len(p) for p in pieces], dtype=np.int64)
    said = [b"".join(pieces)[:n].decode("utf-8", "replace") for n in sizes]
    if text[:1].strip():
        said = [s.lstrip() for s in said]
    ends = shared_ends(said, text)
    if not len(ends) or ends[-1] >= len(text.rstrip()):
        return ends
    return (len(text) * sizes // max(int(sizes[-1]), 1)).astype(np.int32)
