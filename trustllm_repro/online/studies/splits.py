"""Which answers monitors are trained, calibrated and tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Thirds: a promise of at most 5 % false alarms takes 19 safe calibration answers, one of 1 % takes
# 99 (online.studies.operate); with a fifth of the answers, half of the tasks of a small study have too few.
SHARES = (1 / 3, 1 / 3, 1 / 3)


@dataclass(frozen=True)
class Split:
    """Numbers of answers, disjoint, together all; no prompt stands in two of the three."""

    train: np.ndarray
    calibration: np.ndarray
    test: np.ndarray


def split(groups: Sequence[str], seed: int, shares: Sequence[float] = SHARES) -> Split:
    """Draw whole groups, until each part has its share of the answers.

    Args:
        groups: of each answer, its prompt.
    """
    order = np.array(sorted(set(groups)))
    np.random.default_rng(seed).shuffle(order)
    place = {g: i for i, g in enumerate(order)}
    at = np.array([place[g] for g in groups], dtype=int)
    sizes = np.bincount(at, minlength=len(order))
    before = (np.cumsum(sizes) - sizes / 2) / max(len(groups), 1)
    part = np.searchsorted(np.cumsum(shares)[:-1], before, side="right")[at]
    return Split(*(np.flatnonzero(part == k) for k in range(3)))
