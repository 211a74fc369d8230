"""Regions of hidden states: distance from those of safe answers, boxes around them, abstract states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.monitors.base import require_both_classes
from trustllm_repro.online.monitors.probes import StateMonitor
from trustllm_repro.online.monitors.running import Highest, Last, Mean

# The same point projected within another batch may differ in its last bits.
_ROUNDING = 1e-9


def safe_ones(generations: Sequence[Generation], unsafe: np.ndarray) -> list[Generation]:
    """Raises InsufficientData: there is none, or no other."""
    require_both_classes(unsafe, least=1)
    return [g for g, u in zip(generations, unsafe, strict=True) if not u]


@dataclass(frozen=True)
class Mahalanobis(StateMonitor):
    """Running mean of the distance to the safe tokens' mean under their shrunk covariance."""

    name: str = "Mahalanobis distance"
    source: str = "Lee et al. 2018 (arXiv 1807.03888); covariance: Ledoit and Wolf 2004"

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        from sklearn.covariance import LedoitWolf

        safe = self.known_states(safe_ones(generations, unsafe), drawn=True)
        found = LedoitWolf().fit(np.concatenate(safe))
        # With the inverse covariance as L L', the distance is the length of (state - mean) L.
        factor = np.linalg.cholesky(found.precision_)
        model = found.location_.astype(np.float32), factor.astype(np.float32)
        return replace(self, model=model)

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        mean, factor = self.model
        return np.linalg.norm((states - mean) @ factor, axis=1)


@dataclass(frozen=True)
class Box(StateMonitor):
    """Largest distance so far to the nearest box, in radii.

    Attributes:
        size: principal components kept; a box in all dimensions rejects nearly everything.
        gain, most: when to stop adding clusters, see `clusters`.
    """

    name: str = "box abstraction"
    source: str = "Henzinger et al. 2020 (arXiv 1911.09032)"
    statistic: Callable[[], Last] = Highest
    size: int = 16
    gain: float = 0.07
    most: int = 32

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        from sklearn.decomposition import PCA

        safe = self.known_states(safe_ones(generations, unsafe))
        states = np.concatenate(safe).astype(np.float64)
        parts = PCA(min(self.size, *states.shape), random_state=0).fit(states)
        points = parts.transform(states)
        labels = clusters(points, self.gain, self.most)
        groups = [points[labels == k] for k in np.unique(labels)]
        low, high = (np.stack([f(g, axis=0) for g in groups]) for f in (np.min, np.max))
        return replace(self, model=(parts, low, high))

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        parts, low, high = self.model
        return outside(parts.transform(states.astype(np.float64)), low, high)


def clusters(points: np.ndarray, gain: float, most: int) -> np.ndarray:
    """Labels of k-means; k grows until one more lowers the inertia by less than `gain`.

    Henzinger et al. 2020, section 4: gain is 1 - I(k + 1) / I(k), 0.07 in their experiments.
    """
    from sklearn.cluster import KMeans

    best = KMeans(1, n_init=1, random_state=0).fit(points)
    for k in range(2, min(most, len(points)) + 1):
        if best.inertia_ <= 0:
            break
        found = KMeans(k, n_init=1, random_state=0).fit(points)
        if 1 - found.inertia_ / best.inertia_ < gain:
            break
        best = found
    return best.labels_


def outside(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Smallest over the boxes of |point - nearest point of the box| / |that point - centre|.

    0 inside a box, 1 one radius outside the nearest one; shape (points,).
    """
    least = np.full(len(points), np.inf)
    for a, b in zip(low, high, strict=True):
        nearest = np.clip(points, a, b)
        gap = np.linalg.norm(points - nearest, axis=1)
        radius = np.linalg.norm(nearest - (a + b) / 2, axis=1)
        ratio = np.where(gap > 0, gap / np.maximum(radius, 1e-300), 0.0)
        least = np.minimum(least, np.where(ratio > _ROUNDING, ratio, 0.0))
    return least


class ChainMean(Mean):
    """Mean of how unsafe the states so far are, and the steps into them.

    Args:
        of_state: (states,). of_step: (states + 1, states), from each to each; the last row is that
            of no state before the first.
    """

    def __init__(self, of_state: np.ndarray, of_step: np.ndarray) -> None:
        self.of_state, self.of_step, self.last = of_state, of_step, len(of_state)

    def add(self, values: np.ndarray, tokens: Trace) -> np.ndarray:
        """`values` are the numbers of the tokens' states; NaN: it has none."""
        known = np.isfinite(values)
        visited = np.array([self.last, *values[known]], dtype=int)
        before, found = visited[:-1], visited[1:]
        self.last = visited[-1]
        scores = np.full(len(values), np.nan)
        scores[known] = (self.of_state[found] + self.of_step[before, found]) / 2
        return super().add(scores, tokens)


@dataclass(frozen=True)
class AbstractStates(StateMonitor):
    """Running mean of how often a state, and the step into it, belonged to unsafe answers.

    Attributes:
        size: principal components kept. clusters: abstract states.
        prior: answers of the average kind added to every state and transition.
    """

    name: str = "abstract states"
    source: str = "Song et al. 2023, LUNA (arXiv 2310.14211)"
    size: int = 16
    clusters: int = 64
    prior: float = 10.0

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline

        require_both_classes(unsafe)
        drawn = np.concatenate(self.known_states(generations, drawn=True))
        k = min(self.clusters, len(drawn))
        parts = PCA(min(self.size, *drawn.shape), random_state=0)
        chain = make_pipeline(parts, KMeans(k, n_init=1, random_state=0)).fit(drawn)
        counts = np.zeros((2, k + 1, k))  # of safe and unsafe answers; row k: no state before
        known = self.known_states(generations)
        visited = chain.predict(np.concatenate(known))
        ends = np.cumsum([len(states) for states in known])[:-1]
        for found, bad in zip(np.split(visited, ends), unsafe, strict=True):
            before = np.concatenate([[k], found])[: len(found)]
            np.add.at(counts[int(bad)], (before, found), 1 / max(len(found), 1))
        base = counts[1].sum() / counts.sum()

        def share(n: np.ndarray) -> np.ndarray:
            return (n[1] + self.prior * base) / (n.sum(axis=0) + self.prior)

        return replace(self, model=(chain, share(counts.sum(axis=1)), share(counts)))

    def begin(self, generation: Generation) -> ChainMean:
        return ChainMean(*self.model[1:])

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        return self.model[0].predict(states)


MONITORS = (Mahalanobis(), Box(), AbstractStates())
