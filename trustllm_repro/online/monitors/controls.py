"""Monitors that look at nothing that was said: what every other one is to be measured against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import (
    Access,
    InsufficientData,
    Need,
    Scores,
    StatelessMonitor,
    require_both_classes,
)


@dataclass(frozen=True, kw_only=True)
class Control(StatelessMonitor):
    """Scores that follow from the number of tokens alone."""

    values: Callable[[int], np.ndarray]
    source: str = "control"
    needs: frozenset[Need] = frozenset()

    def score(self, generation: Generation) -> np.ndarray:
        return self.values(len(generation.trace))


@dataclass(frozen=True)
class ModelIdentity:
    """The share of unsafe answers among those of the same author, one answer of each kind added."""

    name: str = "model identity"
    source: str = "control"
    access: Access = Access.BLACK
    needs: frozenset[Need] = frozenset()
    trained: bool = True
    shares: dict[str, float] = field(default_factory=dict)

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        require_both_classes(unsafe)
        authors = np.array([g.author for g in generations])
        if len(set(authors.tolist())) < 2:
            raise InsufficientData("all answers are of one author")
        some = {a: unsafe[authors == a] for a in set(authors.tolist())}
        return replace(self, shares={a: (u.sum() + 1) / (len(u) + 2) for a, u in some.items()})

    def __call__(self, generations: Sequence[Generation]) -> Scores:
        return [np.full(len(g.trace), self.shares.get(g.author, 0.5)) for g in generations]


MONITORS = (
    Control(name="always", values=np.ones),
    Control(name="never", values=np.zeros),
    Control(name="clock", values=lambda n: np.arange(1.0, n + 1)),
    ModelIdentity(),
)
