"""Mahalanobis distance: to the safe answers, in units of their spread."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online.made import states
from trustllm_repro.online.monitors.mahalanobis import Mahalanobis


def test_distances_are_in_units_of_the_spread() -> None:
    safe = states(0, 200, 10)
    for s in safe:
        s.trace.hidden[1][:, 1] *= 5
    far, wide = states(1, 1, 1), states(1, 1, 1)
    for s in (*far, *wide):
        s.trace.hidden[1][:] = 0
    far[0].trace.hidden[1][0, 0], wide[0].trace.hidden[1][0, 1] = 10, 10
    monitor = Mahalanobis(tokens=0).fit([*safe, *far], np.arange(201) == 200)
    assert monitor(far)[0][0] == pytest.approx(10, rel=0.1)
    assert monitor(wide)[0][0] == pytest.approx(2, rel=0.1)


def test_distances_are_scikit_learns() -> None:
    from sklearn.covariance import LedoitWolf

    seen = states(0, 40, 6)
    monitor = Mahalanobis(tokens=0).fit([*seen, *states(1, 1, 6)], np.arange(41) == 40)
    rows = np.concatenate([s.trace.hidden[1] for s in seen]).astype(np.float32)
    wanted = np.sqrt(LedoitWolf().fit(rows).mahalanobis(rows))
    assert monitor.danger(rows) == pytest.approx(wanted, rel=1e-4)


def test_unsafe_answers_are_not_learned_from() -> None:
    safe, unsafe = states(0, 20, 4), states(1, 20, 4, shift=50)
    labels = np.arange(40) >= 20
    scores = Mahalanobis().fit(safe + unsafe, labels)(safe + unsafe)
    assert min(s[-1] for s in scores[20:]) > 5 * max(s[-1] for s in scores[:20])
