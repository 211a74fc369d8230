"""Boxes around clusters of points, and how far a point lies outside them."""

from __future__ import annotations

import numpy as np

# The same point projected within another batch may differ in its last bits.
_ROUNDING = 1e-9


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


def around(points: np.ndarray, labels: np.ndarray, slack: float) -> tuple[np.ndarray, np.ndarray]:
    """Low and high corners, (boxes, size) each; every side is longer by `slack`."""
    groups = [points[labels == k] for k in np.unique(labels)]
    low, high = np.stack([g.min(0) for g in groups]), np.stack([g.max(0) for g in groups])
    more = (high - low) * slack / 2
    return low - more, high + more


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
