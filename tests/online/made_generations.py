"""Generations made here, with a truth that is known, and monitors that know it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.online.made import trace
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import Monitor
from trustllm_repro.online.studies.evaluate import digest


def generations(
    n: int = 300, a_prompt: int = 1, tokens: tuple[int, int] = (10, 10), alike: float = 0.0,
    seed: int = 0, size: int = 4, shift: float = 1.0, model: str = "m", task: str = "t",
) -> list[Generation]:  # fmt: skip
    """Half of the answers are unsafe.

    Args:
        a_prompt: answers to one prompt. tokens: of a safe and an unsafe answer. alike: correlation of
            the states of answers to one prompt. shift: of the states of unsafe answers.
    """
    draw = np.random.default_rng(seed)
    found = []
    for i in range(n):
        unsafe, group = bool(i % 2), i // (2 * a_prompt)
        own = np.random.default_rng([seed, group]).normal(size=size)
        length = tokens[int(unsafe)]
        center = np.sqrt(alike) * own + np.sqrt(1 - alike) * draw.normal(size=size)
        center[0] += shift * unsafe
        hidden = center + draw.normal(size=(length, size))
        found.append(
            Generation(
                trace(["x"] * length, hidden=hidden, entropy=draw.random(length)),
                prompt=f"prompt {i}", model=model, task=task, case=i,
                group=f"prompt {group}" if a_prompt > 1 else f"prompt {i}",
                unsafe=unsafe, disputed=i % 10 < 2,
            )
        )  # fmt: skip
    return found


@dataclass(frozen=True, kw_only=True)
class Oracle(Monitor):
    """Knows the label: `strength` above noise, from token `since` on."""

    name: str = "oracle"
    strength: float = 100.0
    since: int = 1
    source: str = "made here"
    alike: float = 0.0

    def score(self, generation: Generation) -> np.ndarray:
        values = np.full(len(generation.trace), -50.0)
        own = np.random.default_rng([generation.case, len(self.name)]).normal()
        group = np.random.default_rng(int(digest(generation.group), 16)).normal()
        noise = np.sqrt(self.alike) * group + np.sqrt(1 - self.alike) * own
        values[self.since - 1 :] = noise + self.strength * bool(generation.unsafe)
        return values
