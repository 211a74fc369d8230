"""What can be seen of a model: text only, five log-probabilities a token, all of them, or states.

The two lower levels are those of endpoints. Further answers are further requests, so all levels have
them. Without log-probabilities, a reply to a question is a word, "yes" or "no".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from trustllm_repro.models.endpoint import TOP_LOGPROBS
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import Monitor, Need, entropy_of


@dataclass(frozen=True)
class Level:
    """`lacks`: what is not seen, and why. `coarse`: what is seen less exactly than of a local model."""

    name: str
    lacks: Mapping[Need, str] = field(default_factory=dict)
    coarse: frozenset[Need] = frozenset()

    def why_not(self, monitor: Monitor) -> str:
        """Why the monitor cannot run here, or ""."""
        return "; ".join(dict.fromkeys(self.lacks[n] for n in self.lacks if n in monitor.needs))

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
    rows = [
        (name, m.access, level.name, not (why := level.why_not(m)), level.changes(m), why)
        for name, m in monitors.items()
        for level in LEVELS.values()
    ]
    return pd.DataFrame(rows, columns=["monitor", "access", "level", "runs", "coarse", "reason"])


def mask(generation: Generation, level: Level) -> Generation:
    """The same answer without what the level does not show."""
    trace, replies = generation.trace, generation.replies
    branches = {} if Need.BRANCHES in level.lacks else generation.branches
    if Need.HIDDEN in level.lacks:
        trace = replace(trace, hidden={})
    if Need.ENTROPY in level.coarse:  # that of the most likely tokens
        first = {name: getattr(trace, name)[:TOP_LOGPROBS] for name in ("first_ids", "first_logp")}
        trace = replace(trace, entropy=entropy_of(trace.top_logp).astype(np.float32), **first)
    if Need.LOGP in level.lacks:  # where its pieces end is left: text may be streamed
        trace = replace(trace, **unknown(len(trace)))
    if Need.REPLIES in level.coarse:  # of each, only the word is known
        replies = {name: [(n, word, word) for n, _, word in rows] for name, rows in replies.items()}
    return replace(generation, trace=trace, branches=branches, replies=replies)


def unknown(n: int) -> dict[str, np.ndarray]:
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
