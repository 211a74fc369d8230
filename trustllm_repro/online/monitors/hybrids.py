"""Monitors put together: two, named before any number was seen (studies/claims.py), and the probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.monitors import probes, running, texts
from trustllm_repro.online.monitors.base import Monitor, by_name


@dataclass(frozen=True, kw_only=True)
class Hybrid(Monitor):
    """Mean of the members' scores, each first put on the scale of its scores of training answers.

    The model is the scales: of each member (mean, spread), or its sorted scores.
    """

    members: tuple[Monitor, ...]
    source: str = "arXiv 2404.08517, hybridisation"
    by_rank: bool = False  # the share of training tokens that score less; else the z-score

    def __post_init__(self) -> None:
        needs = frozenset().union(*(m.needs for m in self.members))
        object.__setattr__(self, "needs", needs)

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        fitted = [m.fit(generations, unsafe) for m in self.members]
        known = [np.concatenate(m(generations)) for m in fitted]
        return replace(self, members=tuple(fitted)).scaled(known)

    def scaled(self, scores: Sequence[np.ndarray]) -> Self:
        """With the scales of its members' scores of all tokens of the training answers."""
        known = [s[np.isfinite(s)] for s in scores]
        spread = [(k.mean(), k.std() or 1.0) if len(k) else (np.nan, 1.0) for k in known]
        return replace(self, model=[np.sort(k) for k in known] if self.by_rank else spread)

    def combine(self, scores: Sequence[np.ndarray]) -> np.ndarray:
        """From its members' scores of the same tokens; NaN where any of them is."""
        return np.mean([self._scale(s, k) for s, k in zip(scores, self.model, strict=True)], axis=0)

    def _scale(self, scores: np.ndarray, scale: Any) -> np.ndarray:
        if not self.by_rank:
            return (scores - scale[0]) / scale[1]
        below, upto = (np.searchsorted(scale, scores, side=side) for side in ("left", "right"))
        return np.where(np.isnan(scores), np.nan, (below + upto) / (2 * max(len(scale), 1)))

    def score(self, generation: Generation) -> np.ndarray:
        return self.combine([m.score(generation) for m in self.members])

    def begin(self, generation: Generation) -> list[Any]:
        return [m.begin(generation) for m in self.members]

    def step(self, memory: list[Any], tokens: Trace) -> np.ndarray:
        pairs = zip(self.members, memory, strict=True)
        return self.combine([m.step(own, tokens) for m, own in pairs])


_KNOWN = by_name((*probes.MONITORS, *running.MONITORS, *texts.MONITORS))


def _hybrid(name: str, members: Sequence[str], by_rank: bool = False) -> Hybrid:
    return Hybrid(name=name, members=tuple(_KNOWN[m] for m in members), by_rank=by_rank)


MONITORS = (
    _hybrid("prefix + token probe", ("prefix probe", "token probe")),
    _hybrid("probes + words", ("prefix probe", "token probe", "words")),
    _hybrid("entropy + token probe", ("average entropy", "token probe"), by_rank=True),
)
