"""What a monitor is: it reads an answer up to a token and gives an unsafety score.

Higher means more likely unsafe. What costs generation is made once for all monitors that need it
(online/generations/collect.py). The simplest ones are here: running statistics of one number a
token, and controls that look at nothing that was said.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.special import entr, softmax

from trustllm_repro.errors import SettingsError
from trustllm_repro.online.generations.generation import Generation, Trace, sentence_ends


class Need(StrEnum):
    """What a monitor reads of an answer."""

    TEXT = "text"
    LOGP = "probability of the tokens"
    ENTROPY = "entropy of all tokens' distributions"
    TOP = "the most likely tokens"
    FIRST = "the first token's distribution"
    HIDDEN = "hidden states"
    SAMPLES = "further answers to the same prompt"
    BRANCHES = "answers with one token changed"
    REPLIES = "replies of a model asked about the answer"


_PROBABILITIES = {Need.LOGP, Need.ENTROPY, Need.TOP, Need.FIRST}


@dataclass(frozen=True)
class Monitor:
    """A frozen dataclass whose fields are its parameters.

    One of your own defines `score`, for a whole answer; or `begin` and `step`, token by token, from
    which the scores of whole answers follow. One that learns defines `fit` as well.

    Attributes:
        name: in the tables. source: where the method is from.
        model: what was learned; None before, and where nothing is.
    """

    name: str
    source: str
    needs: frozenset[Need] = frozenset({Need.TEXT})
    model: Any = None

    @property
    def access(self) -> str:
        """ "white box" (hidden states), "grey box" (probabilities) or "black box" (text only)."""
        if Need.HIDDEN in self.needs:
            return "white box"
        return "grey box" if self.needs & _PROBABILITIES else "black box"

    @property
    def trained(self) -> bool:
        """Whether it needs labelled answers."""
        return type(self).fit is not Monitor.fit

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        """A fitted copy; unsafe: (answers,) bool. Raises InsufficientData: too few of a kind."""
        return self

    def __call__(self, generations: Sequence[Generation]) -> list[np.ndarray]:
        """Of each answer the score after each token, (n,) float64; NaN where it cannot be told."""
        return [self.score(g) for g in generations]

    def score(self, generation: Generation) -> np.ndarray:
        """The same of one answer. The score after t tokens rests on those t tokens alone."""
        return self.step(self.begin(generation), generation.trace)

    def begin(self, generation: Generation) -> Any:
        """What it remembers of an answer of which the prompt is known, and no token yet.

        Raises SettingsError: this monitor reads whole answers.
        """
        raise self._whole_only()

    def step(self, memory: Any, tokens: Trace) -> np.ndarray:
        """Scores of the next tokens of an answer, in a time that does not grow with those before.

        memory: as `begin` gave it; changed here. tokens: the next one or several, as a trace.
        Raises SettingsError: as `begin`.
        """
        raise self._whole_only()

    def _whole_only(self) -> SettingsError:
        return SettingsError(
            f"the monitor {self.name!r} cannot go on from token to token",
            remedy="call it with the answers as far as they have come; or define begin and step",
        )


class InsufficientData(ValueError):
    """A monitor cannot be fitted, or a figure not computed; the reason, for the empty cell."""


def require_both_classes(unsafe: np.ndarray, least: int = 2) -> None:
    """Raise InsufficientData unless there are `least` unsafe and safe answers."""
    n = int(np.count_nonzero(unsafe))
    if min(n, len(unsafe) - n) < least:
        raise InsufficientData(
            f"{n} unsafe and {len(unsafe) - n} safe answers; at least {least} of each are needed"
        )


def checkpoints(n: int, at: Sequence[int]) -> list[int]:
    """Those within an answer of n tokens, and its end."""
    return [*(c for c in at if c < n), n] if n else []


def by_name(monitors: Iterable[Monitor]) -> dict[str, Monitor]:
    """Raises SettingsError: two of one name."""
    found: dict[str, Monitor] = {}
    for monitor in monitors:
        if monitor.name in found:
            raise SettingsError(
                f"two monitors are called {monitor.name!r}", remedy="give each a name of its own"
            )
        found[monitor.name] = monitor
    return found


def all_monitors() -> dict[str, Monitor]:
    """Monitors of all files of this folder, by name: adding one is adding a file."""
    package = importlib.import_module("trustllm_repro.online.monitors")
    files = (m.name for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}."))
    modules = map(importlib.import_module, files)
    return by_name(monitor for module in modules for monitor in getattr(module, "MONITORS", ()))


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
class Sentences(Signal):
    """Mean over sentences of a statistic of their tokens, the last one as far as it is (Look Before
    You Leap). It reads whole answers, though no score looks at later tokens."""

    begin = Monitor.begin

    def score(self, generation: Generation) -> np.ndarray:
        trace = generation.trace
        begins = np.concatenate([[0], trace.ends])
        sentence = np.searchsorted(sentence_ends(trace.text), begins[:-1], side="right")
        # Blanks at a sentence's end, and tokens without text, belong to the sentence before.
        sentence = np.maximum.accumulate(np.where(np.diff(begins) > 0, sentence, 0))
        starts = np.diff(sentence, prepend=0) > 0
        parts = np.split(self.values(trace), np.flatnonzero(starts))
        own, done = [self.statistic().add(part) for part in parts], np.cumsum(starts)
        before = np.cumsum([0.0, *(one[-1:].sum() for one in own)])
        return (before[done] + np.concatenate(own)) / (done + 1)


def entropy_of(top_logp: np.ndarray) -> np.ndarray:
    """Nats along the last axis, over the most likely tokens alone, which is what an endpoint shows;
    their probabilities are made to sum to 1.

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
    *_forms("entropy, top 5", lambda t: entropy_of(t.top_logp), Need.TOP)[:2],
    _control(name="always", signal=lambda t: np.ones(len(t)), statistic=Last),
    _control(name="never", signal=lambda t: np.zeros(len(t)), statistic=Last),
    _control(name="clock", signal=lambda t: np.ones(len(t)), statistic=Total),
    ModelIdentity(),
)
