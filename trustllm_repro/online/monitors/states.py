"""What the monitors that learn from hidden states share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from trustllm_repro.online.monitors import running
from trustllm_repro.online.monitors.base import Access, Need, Scores, Seen, TooLittle


@dataclass(frozen=True)
class StateMonitor(ABC):
    """A score of each token's state, and a running statistic of it.

    Attributes:
        layer: a recorded layer; -1 the last of those recorded.
        model: what was fitted; None before.
    """

    name: str
    source: str
    layer: int = -1
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray] = running.mean
    access: Access = Access.WHITE
    needs: frozenset[Need] = frozenset({Need.HIDDEN})
    trained: bool = True
    model: Any = None

    @abstractmethod
    def learn(self, seen: Sequence[Seen], unsafe: np.ndarray, layer: int) -> Any:
        """The fitted model. Raises TooLittle."""

    @abstractmethod
    def danger(self, states: np.ndarray) -> np.ndarray:
        """(tokens, size) float32 -> (tokens,)."""

    def fit(self, seen: Sequence[Seen], unsafe: np.ndarray) -> Self:
        return replace(self, model=self.learn(seen, unsafe, layer_of(seen, self.layer)))

    def __call__(self, seen: Sequence[Seen]) -> Scores:
        """NaN for tokens whose state is not finite, and for what a running statistic makes of it."""
        n = [len(s.trace) for s in seen]
        if not sum(n):
            return [np.zeros(0) for _ in seen]
        layer = layer_of(seen, self.layer)
        states = np.concatenate([s.trace.hidden[layer] for s in seen]).astype(np.float32)
        known = np.isfinite(states).all(axis=1)
        values = np.full(len(states), np.nan)
        if known.any():
            values[known] = self.danger(states[known])
        return [self.statistic(v, v) for v in np.split(values, np.cumsum(n)[:-1])]


def layer_of(seen: Sequence[Seen], layer: int) -> int:
    """A recorded layer; `layer` counts from 1, or from the last recorded one by -1, -2 ...

    Raises:
        TooLittle: no such layer was recorded.
    """
    known = sorted(seen[0].trace.hidden) if seen else []
    if layer in known:
        return layer
    if layer < 0 and -layer <= len(known):
        return known[layer]
    raise TooLittle(f"hidden states of layer {layer} were not recorded, only of {known}")


def table(
    seen: Sequence[Seen], layer: int, most: int = 0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """States of the tokens of many answers, and the number of the answer each belongs to.

    Args:
        most: at most so many tokens of an answer, drawn with `seed`; 0: all.

    Returns:
        (tokens, size) float32 and (tokens,) int64. States that are not finite are left out.

    Raises:
        TooLittle: there is none.
    """
    draw = np.random.default_rng(seed)
    rows, owners = [], []
    for i, s in enumerate(seen):
        n = len(s.trace)
        at = np.sort(draw.choice(n, most, replace=False)) if 0 < most < n else np.arange(n)
        states = s.trace.hidden[layer][at].astype(np.float32)
        states = states[np.isfinite(states).all(axis=1)]
        rows.append(states)
        owners.append(np.full(len(states), i))
    if not sum(map(len, rows)):
        raise TooLittle("no token with a finite hidden state")
    return np.concatenate(rows), np.concatenate(owners)


def safe_table(seen: Sequence[Seen], unsafe: np.ndarray, layer: int, most: int = 0) -> np.ndarray:
    """States of tokens of safe answers. Raises TooLittle."""
    safe = [s for s, u in zip(seen, unsafe, strict=True) if not u]
    return table(safe, layer, most)[0]
