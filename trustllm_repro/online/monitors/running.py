"""Running statistics of one number a token: of its likelihood or entropy, and controls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import pandas as pd
from scipy.special import entr, softmax

from trustllm_repro.online.generations.generation import Generation, Trace, sentence_ends
from trustllm_repro.online.monitors.base import (
    InsufficientData,
    Monitor,
    Need,
    require_both_classes,
)


class Last:
    """The token's own value."""

    def add(self, values: np.ndarray) -> np.ndarray:
        """The statistic after each of the next tokens, from the values of each by itself, (n,)."""
        return values


class First(Last):
    """The first token's value."""

    value: float | None = None

    def add(self, values: np.ndarray) -> np.ndarray:
        if self.value is None and len(values):
            self.value = values[0]
        return np.full(len(values), self.value, dtype=np.float64)


class Total(Last):
    """Sum of all tokens so far."""

    combine: np.ufunc = np.add
    total, n = 0.0, 0

    def add(self, values: np.ndarray) -> np.ndarray:
        found = self.combine.accumulate([self.total, *values])
        self.total, self.n = found[-1], self.n + len(values)
        return found[1:]


class Highest(Total):
    """Largest of all tokens so far."""

    combine, total = np.maximum, -np.inf


class Mean(Total):
    """Mean of all tokens so far."""

    def add(self, values: np.ndarray) -> np.ndarray:
        n = self.n + np.arange(1, len(values) + 1)
        return super().add(values) / n


@dataclass(frozen=True)
class Running(Monitor, ABC):
    """A number of each token, and a running statistic of it."""

    statistic: Callable[[], Last] = Mean

    @abstractmethod
    def values(self, tokens: Trace) -> np.ndarray:
        """(n,) float64."""

    def begin(self, generation: Generation) -> Last:
        return self.statistic()

    def step(self, memory: Last, tokens: Trace) -> np.ndarray:
        return memory.add(self.values(tokens))


@dataclass(frozen=True, kw_only=True)
class Signal(Running):
    """A number that the trace holds for every token: - ln p or entropy, in nats."""

    signal: Callable[[Trace], np.ndarray]
    source: str = "Huang et al. 2023 (arXiv 2307.10236)"

    def values(self, tokens: Trace) -> np.ndarray:
        return self.signal(tokens).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Sentences(Monitor):
    """Mean over sentences of a statistic of their tokens; the last one counts as far as it is.

    Look Before You Leap's. It reads whole answers, though no score looks at later tokens.
    """

    signal: Callable[[Trace], np.ndarray]
    statistic: Callable[[], Last]
    source: str = Signal.source

    def score(self, generation: Generation) -> np.ndarray:
        values = self.signal(generation.trace).astype(np.float64)
        found, before, done = [], 0.0, 0
        for part in np.split(values, np.flatnonzero(sentence_starts(generation.trace))):
            own = self.statistic().add(part)
            found.append((before + own) / (done + 1))
            before, done = before + own[-1:].sum(), done + 1
        return np.concatenate(found)


def sentence_starts(trace: Trace) -> np.ndarray:
    """(n,) bool, whether each token is the first of a sentence but the first one.

    A token belongs to the sentence in which it begins; blanks, and tokens without text, belong to
    the sentence before.
    """
    begins = np.concatenate([[0], trace.ends])
    sentence = np.searchsorted(sentence_ends(trace.text), begins[:-1], side="right")
    sentence = np.maximum.accumulate(np.where(np.diff(begins) > 0, sentence, 0))
    return np.diff(sentence, prepend=0) > 0


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
        by_author = pd.Series(unsafe).groupby([g.author for g in generations])
        if by_author.ngroups < 2:
            raise InsufficientData("all answers are of one author")
        return replace(self, model=((by_author.sum() + 1) / (by_author.size() + 2)).to_dict())

    def begin(self, generation: Generation) -> float:
        return self.model.get(generation.author, 0.5)

    def step(self, memory: float, tokens: Trace) -> np.ndarray:
        return np.full(len(tokens), memory)


def _forms(what: str, signal: Callable[[Trace], np.ndarray], need: Need) -> list[Monitor]:
    """Average and maximum over tokens, and the same by sentence."""
    needs = frozenset({need})
    return [
        kind(name=f"{word} {what}{ending}", signal=signal, statistic=statistic, needs=needs)
        for kind, ending in ((Signal, ""), (Sentences, ", sentences"))
        for word, statistic in (("average", Mean), ("maximum", Highest))
    ]


# They look at nothing that was said: every other monitor is to be measured against them.
_control = partial(Signal, source="control", needs=frozenset())

MONITORS = (
    *_forms("likelihood", lambda t: -t.logp, Need.LOGP),
    *_forms("entropy", lambda t: t.entropy, Need.ENTROPY),
    *_forms("entropy, top 5", of_top, Need.TOP)[:2],
    _control(name="always", signal=lambda t: np.ones(len(t)), statistic=Last),
    _control(name="never", signal=lambda t: np.zeros(len(t)), statistic=Last),
    _control(name="clock", signal=lambda t: np.ones(len(t)), statistic=Total),
    ModelIdentity(),
)
