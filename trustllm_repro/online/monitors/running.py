"""Likelihood and entropy of the tokens, and controls: running statistics of one number a token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.special import entr, softmax

from trustllm_repro.online.generations.generation import Generation, Trace, sentence_ends
from trustllm_repro.online.monitors.base import (
    InsufficientData,
    Monitor,
    Need,
    Scores,
    require_both_classes,
)


class Last:
    """The token's own value."""

    def add(self, values: np.ndarray, tokens: Trace | None = None) -> np.ndarray:
        """The statistic after each of the next tokens, from the values of each by itself, (n,)."""
        return values


class First(Last):
    """The first token's value."""

    value: float | None = None

    def add(self, values: np.ndarray, tokens: Trace | None = None) -> np.ndarray:
        if self.value is None and len(values):
            self.value = values[0]
        return np.full(len(values), self.value, dtype=np.float64)


class Total(Last):
    """Sum of all tokens so far."""

    total, n = 0.0, 0

    def add(self, values: np.ndarray, tokens: Trace | None = None) -> np.ndarray:
        sums = np.cumsum([self.total, *values])
        self.total, self.n = sums[-1], self.n + len(values)
        return sums[1:]


class Mean(Total):
    """Mean of all tokens so far."""

    def add(self, values: np.ndarray, tokens: Trace | None = None) -> np.ndarray:
        n = self.n + np.arange(1, len(values) + 1)
        return super().add(values, tokens) / n


class Highest(Last):
    """Largest of all tokens so far."""

    highest = -np.inf

    def add(self, values: np.ndarray, tokens: Trace | None = None) -> np.ndarray:
        found = np.maximum.accumulate([self.highest, *values])
        self.highest = found[-1]
        return found[1:]


class SentenceMean(Last):
    """Mean over sentences of the mean over their tokens; the last one counts as far as it has come.

    Look Before You Leap's. A token belongs to the sentence in which it begins; blanks belong to the
    sentence before.
    """

    inside: type[Last] = Mean

    def __init__(self) -> None:
        self.own = self.inside()
        self.now, self.before, self.done = 0.0, 0.0, 0
        # The end of the text, from where a sentence may still end; where its last token begins.
        self.text, self.at = "", 0

    def add(self, values: np.ndarray, tokens: Trace | None = None) -> np.ndarray:
        found = []
        for k, part in enumerate(np.split(values, np.flatnonzero(self.starts(tokens)))):
            if k:
                self.before, self.done = self.before + self.now, self.done + 1
                self.own = self.inside()
            own = self.own.add(part, tokens)
            self.now = own[-1] if len(own) else self.now
            found.append((self.before + own) / (self.done + 1))
        return np.concatenate(found)

    def starts(self, tokens: Trace) -> np.ndarray:
        """(n,) bool, whether each of the next tokens is the first of a sentence but the first one."""
        text = self.text + tokens.text
        begins = len(self.text) + np.concatenate([[0], tokens.ends])
        # What ends before a token without text shows with the next one that has some.
        said = np.flatnonzero(np.diff(begins) > 0)
        before = np.searchsorted(sentence_ends(text), [self.at, *begins[said]], side="right")
        starts = np.zeros(len(tokens), dtype=bool)
        starts[said] = np.diff(before) > 0
        if len(said):
            last = begins[said[-1]]
            start = len(text[:last].rstrip(".!?\"')]\n。！？"))
            self.text, self.at = text[start:], last - start
        return starts


class SentenceHighest(SentenceMean):
    """Mean over sentences of the largest of their tokens."""

    inside = Highest


@dataclass(frozen=True, kw_only=True)
class Running(Monitor):
    """A running statistic of a number that the trace holds for every token.

    Likelihood is - ln p of the tokens, entropy that of the whole distribution before them, in nats.
    """

    signal: Callable[[Trace], np.ndarray]
    statistic: Callable[[], Last]
    source: str = "Huang et al. 2023 (arXiv 2307.10236)"

    def begin(self, generation: Generation) -> Last:
        return self.statistic()

    def step(self, memories: Sequence[Last], tokens: Sequence[Trace]) -> Scores:
        pairs = zip(memories, tokens, strict=True)
        return [memory.add(self.signal(t).astype(np.float64), t) for memory, t in pairs]


def of_top(trace: Trace) -> np.ndarray:
    """(n,) nats, over the most likely tokens alone: what an endpoint shows."""
    return entropy_of(trace.top_logp)


def entropy_of(top_logp: np.ndarray) -> np.ndarray:
    """Nats along the last axis, over the most likely tokens, their probabilities made to sum to 1.

    Look Before You Leap takes base 2 and leaves the sum below 1, so that its figures for open and
    closed models cannot be compared; this one's can.
    """
    return entr(softmax(top_logp.astype(np.float64), axis=-1)).sum(axis=-1)


@dataclass(frozen=True)
class ModelIdentity(Monitor):
    """The share of unsafe answers among those of the same author, one answer of each kind added."""

    name: str = "model identity"
    source: str = "control"
    needs: frozenset[Need] = frozenset()

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        require_both_classes(unsafe)
        authors = np.array([g.author for g in generations])
        some = {str(a): unsafe[authors == a] for a in np.unique(authors)}
        if len(some) < 2:
            raise InsufficientData("all answers are of one author")
        return replace(self, model={a: (u.sum() + 1) / (len(u) + 2) for a, u in some.items()})

    def begin(self, generation: Generation) -> float:
        return self.model.get(generation.author, 0.5)

    def step(self, memories: Sequence[float], tokens: Sequence[Trace]) -> Scores:
        return [np.full(len(t), share) for share, t in zip(memories, tokens, strict=True)]


_FORMS = {
    "average {}": Mean,
    "maximum {}": Highest,
    "average {}, sentences": SentenceMean,
    "maximum {}, sentences": SentenceHighest,
}
# Name, what of each token, its running statistic, and what of the model must be seen.
_TABLE: list[tuple[str, Callable[[Trace], np.ndarray], type[Last], Need]] = [
    *((f.format("likelihood"), lambda t: -t.logp, s, Need.LOGP) for f, s in _FORMS.items()),
    *((f.format("entropy"), lambda t: t.entropy, s, Need.ENTROPY) for f, s in _FORMS.items()),
    ("average entropy, top 5", of_top, Mean, Need.TOP),
    ("maximum entropy, top 5", of_top, Highest, Need.TOP),
]
# They look at nothing that was said: every other monitor is to be measured against them.
_CONTROLS = {"always": (np.ones, Last), "never": (np.zeros, Last), "clock": (np.ones, Total)}

MONITORS = (
    *(
        Running(name=name, signal=signal, statistic=statistic, needs=frozenset({need}))
        for name, signal, statistic, need in _TABLE
    ),
    *(
        Running(
            name=name, source="control", signal=lambda t, of=values: of(len(t)),
            statistic=statistic, needs=frozenset(),
        )
        for name, (values, statistic) in _CONTROLS.items()
    ),
    ModelIdentity(),
)  # fmt: skip
