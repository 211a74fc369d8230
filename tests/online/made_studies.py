"""A study made here: monitors whose danger is known, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.online.made import trace
from trustllm_repro.online.generations.tasks import TASKS
from trustllm_repro.online.monitors.base import Access, Need, Plain, Seen
from trustllm_repro.online.studies.benchmark import Answered, attempt
from trustllm_repro.online.studies.hybrids import RULES, combine
from trustllm_repro.online.studies.study import Study

TOKENS = 10


@dataclass(frozen=True, kw_only=True)
class Fixed(Plain):
    """Danger `danger[i]` from token `at` on, for the i-th answer, whose number stands in its prompt."""

    danger: np.ndarray
    at: int = 1
    source: str = "made here"

    def score(self, seen: Seen) -> np.ndarray:
        values = np.full(len(seen.trace), -10.0)
        values[self.at - 1 :] = self.danger[int(seen.prompt)]
        return values


def made_study(n: int = 300, seeds: Sequence[int] = (0, 1, 2), **more: Any) -> Study:
    """Half of n answers of ten tokens are unsafe; a good, a poor and a random monitor watch."""
    draw, unsafe = np.random.default_rng(0), np.arange(n) % 2 == 0
    seen = [Seen(trace(["x"] * TOKENS), str(i)) for i in range(n)]
    monitors = {
        name: Fixed(
            name=name, danger=draw.normal(size=n) + shift * unsafe, at=at, access=access,
            needs=frozenset({Need.TEXT}) if name != "always" else frozenset(),
        )
        for name, shift, at, access in (
            ("good", 3.0, 2, Access.WHITE), ("poor", 0.4, 1, Access.GREY),
            ("random", 0.0, 1, Access.BLACK), ("always", 0.0, 1, Access.BLACK),
        )
    }  # fmt: skip
    answered = Answered("m", "harm", seen, unsafe, [str(i) for i in range(n)])
    tried = {name: [attempt(m, answered, s) for s in seeds] for name, m in monitors.items()}
    pair = [[tried["good"][k], tried["poor"][k]] for k in range(len(seeds))]
    hybrids = {
        f"{r}: grey box": [combine(f"{r}: grey box", RULES[r], some, unsafe) for some in pair]
        for r in ("OR", "mean rank")
    }
    facts = dict(
        task=TASKS["harm"], cases=[], seen=seen, labels=[], answered=answered, monitors=monitors,
        tried=tried, hybrids=hybrids,
    )  # fmt: skip
    return Study(**{**facts, **more})
