"""What the monitors that learn from hidden states share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np

from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.monitors import running
from trustllm_repro.online.monitors.base import Access, InsufficientData, Need, Scores

TOKENS = 16  # of an answer, drawn at random, so that long ones do not outweigh


@dataclass(frozen=True)
class StateMonitor(ABC):
    """A score of each token's state, and a running statistic of it.

    Attributes:
        depths: of the layers whose states it reads, joined, as shares of the deepest recorded one.
        model: what was fitted; None before.
    """

    name: str
    source: str
    depths: tuple[float, ...] = (1.0,)
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray] = running.mean
    access: Access = Access.WHITE
    needs: frozenset[Need] = frozenset({Need.HIDDEN})
    trained: bool = True
    model: Any = None

    @abstractmethod
    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        """The fitted model. Raises InsufficientData."""

    @abstractmethod
    def token_scores(self, states: np.ndarray) -> np.ndarray:
        """States of one answer's tokens in their order, (tokens, size) float32 -> (tokens,)."""

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        return replace(self, model=self.learn(generations, unsafe))

    def __call__(self, generations: Sequence[Generation]) -> Scores:
        """NaN for tokens whose state is not finite, and for what a running statistic makes of it."""
        found = []
        for g in generations:
            states = states_of(g.trace, self.depths)
            known = np.isfinite(states).all(axis=1)
            values = np.full(len(states), np.nan)
            if known.any():
                values[known] = self.token_scores(states[known])
            found.append(self.statistic(values, values))
        return found

    def known_states(self, generations: Sequence[Generation], most: int = 0) -> list[np.ndarray]:
        """Of each answer the finite states, at most `most` drawn ones (0: all), (some, size) float32.

        Raises:
            InsufficientData: there is none at all.
        """

        def drawn(trace: Trace) -> np.ndarray:
            states = states_of(trace, self.depths)
            states = states[np.isfinite(states).all(axis=1)]
            if not 0 < most < len(states):
                return states
            at = np.random.default_rng(0).choice(len(states), most, replace=False)
            return states[np.sort(at)]

        key = (self.depths, most)
        found = [once(g.trace, key, drawn) if most else drawn(g.trace) for g in generations]
        if not sum(map(len, found)):
            raise InsufficientData("no token with a finite hidden state")
        return found

    def safe_states(
        self, generations: Sequence[Generation], unsafe: np.ndarray, most: int = 0
    ) -> np.ndarray:
        """As `known_states`, of safe answers, in one table. Raises InsufficientData."""
        safe = [g for g, u in zip(generations, unsafe, strict=True) if not u]
        return np.concatenate(self.known_states(safe, most))


_MADE: WeakKeyDictionary[Trace, dict[Any, np.ndarray]] = WeakKeyDictionary()


def once(trace: Trace, key: Any, make: Callable[[Trace], np.ndarray]) -> np.ndarray:
    """What `make` gives, kept as long as the trace: every fold and placebo learns from it again."""
    known = _MADE.setdefault(trace, {})
    if key not in known:
        known[key] = make(trace)
    return known[key]


def states_of(trace: Trace, depths: Sequence[float]) -> np.ndarray:
    """States of the recorded layers nearest to these depths, joined, (n, layers x size) float32.

    Raises:
        InsufficientData: none was recorded.
    """
    if not trace.hidden:
        raise InsufficientData("no hidden states were recorded")
    known = sorted(trace.hidden)
    layers = {min(known, key=lambda n, d=d: abs(n - d * known[-1])): None for d in depths}
    return np.concatenate([trace.hidden[n] for n in layers], axis=1).astype(np.float32)
