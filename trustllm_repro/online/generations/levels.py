"""What can be seen of a model: text only, five log-probabilities a token, all of them, or states.

The two lower levels are those of chat endpoints. Further answers are further requests, so all
levels have them. Where no log-probabilities are shown, a reply to a question is a word, "yes" or
"no", and not a probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from trustllm_repro.models.logprobs import LIKELIEST
from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.monitors.base import Monitor, Need
from trustllm_repro.online.monitors.running import of_top


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
    if Need.LOGP in level.lacks:
        trace = _text_only(trace)
    if Need.REPLIES in level.coarse:  # of each, only the word is known
        replies = {question: rows[:, [0, 2, 2]] for question, rows in replies.items()}
    branches = {} if Need.BRANCHES in level.lacks else generation.branches
    return replace(generation, trace=trace, replies=replies, branches=branches)


def top_only(trace: Trace) -> Trace:
    """With the five most likely tokens alone; entropy is then that of the five (of_top)."""
    k = LIKELIEST
    cut = replace(
        trace, top_ids=trace.top_ids[:, :k], top_logp=trace.top_logp[:, :k],
        first_ids=trace.first_ids[:k], first_logp=trace.first_logp[:k],
    )  # fmt: skip
    return replace(cut, entropy=of_top(cut).astype(np.float32))


def _text_only(trace: Trace) -> Trace:
    """With its text and where its pieces end: an endpoint that shows text may stream it."""
    no_ids = np.full((len(trace), LIKELIEST), -1, np.int32)
    no_logp = np.full((len(trace), LIKELIEST), np.nan, np.float32)
    return Trace(
        trace.key, no_ids[:, 0], trace.text, trace.ends, no_logp[:, 0], no_logp[:, 0], no_ids,
        no_logp, finish=trace.finish, prompt_tokens=trace.prompt_tokens,
    )  # fmt: skip
