"""Regions of hidden states: distance from those of safe answers, boxes around them, abstract states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors import running
from trustllm_repro.online.monitors.base import require_both_classes
from trustllm_repro.online.monitors.states import TOKENS, StateMonitor

# The same point projected within another batch may differ in its last bits.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Mahalanobis(StateMonitor):
    """Running mean of the distance to the safe tokens' mean under their shrunk covariance."""

    name: str = "Mahalanobis distance"
    source: str = "Lee et al. 2018 (arXiv 1807.03888); covariance: Ledoit and Wolf 2004"
    tokens: int = TOKENS

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        from sklearn.covariance import LedoitWolf

        require_both_classes(unsafe, least=1)
        found = LedoitWolf().fit(self.safe_states(generations, unsafe, self.tokens))
        # With the inverse covariance as L L', the distance is the length of (state - mean) L.
        factor = np.linalg.cholesky(found.precision_)
        return found.location_.astype(np.float32), factor.astype(np.float32)

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
    statistic: Any = running.highest
    size: int = 16
    gain: float = 0.07
    most: int = 32

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        from sklearn.decomposition import PCA

        require_both_classes(unsafe, least=1)
        states = self.safe_states(generations, unsafe).astype(np.float64)
        parts = PCA(min(self.size, *states.shape), random_state=0).fit(states)
        points = parts.transform(states)
        return parts, *around(points, clusters(points, self.gain, self.most))

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


def around(points: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high corners, (boxes, size) each."""
    groups = [points[labels == k] for k in np.unique(labels)]
    return np.stack([g.min(0) for g in groups]), np.stack([g.max(0) for g in groups])


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

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline

        require_both_classes(unsafe)
        drawn = np.concatenate(self.known_states(generations, TOKENS))
        k = min(self.clusters, len(drawn))
        parts = PCA(min(self.size, *drawn.shape), random_state=0)
        chain = make_pipeline(parts, KMeans(k, n_init=1, random_state=0)).fit(drawn)
        counts = np.zeros((2, k + 1, k))  # row k: no state before the first
        known = self.known_states(generations)
        visited = chain.predict(np.concatenate(known))
        ends = np.cumsum([len(states) for states in known])[:-1]
        for found, bad in zip(np.split(visited, ends), unsafe, strict=True):
            before = np.concatenate([[k], found])[: len(found)]
            np.add.at(counts[int(bad)], (before, found), 1 / max(len(found), 1))
        base = counts[1].sum() / counts.sum()

        def share(n: np.ndarray) -> np.ndarray:
            return (n[1] + self.prior * base) / (n.sum(axis=0) + self.prior)

        return chain, share(counts.sum(axis=1)), share(counts)

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        chain, of_state, of_step = self.model
        found = chain.predict(states)
        before = np.concatenate([[len(of_state)], found[:-1]])
        return (of_state[found] + of_step[before, found]) / 2


MONITORS = (Mahalanobis(), Box(), AbstractStates())
