"""Distances, boxes and abstract states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score as auroc

from tests.online.made import states, trace
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.regions import (
    AbstractStates,
    Box,
    Mahalanobis,
    clusters,
    outside,
)


def test_distances_are_in_units_of_the_spread() -> None:
    safe = states(0, 200, 10)
    for s in safe:
        s.trace.hidden[1][:, 1] *= 5
    far, wide = states(1, 1, 1), states(1, 1, 1)
    for s in (*far, *wide):
        s.trace.hidden[1][:] = 0
    far[0].trace.hidden[1][0, 0], wide[0].trace.hidden[1][0, 1] = 10, 10
    monitor = Mahalanobis().fit([*safe, *far], np.arange(201) == 200)
    assert monitor(far)[0][0] == pytest.approx(10, rel=0.1)
    assert monitor(wide)[0][0] == pytest.approx(2, rel=0.1)


def test_distances_are_scikit_learns() -> None:
    from sklearn.covariance import LedoitWolf

    seen = states(0, 40, 6)
    monitor = Mahalanobis().fit([*seen, *states(1, 1, 6)], np.arange(41) == 40)
    rows = np.concatenate([s.trace.hidden[1] for s in seen]).astype(np.float32)
    wanted = np.sqrt(LedoitWolf().fit(rows).mahalanobis(rows))
    assert monitor.token_scores(rows) == pytest.approx(wanted, rel=1e-4)


def test_unsafe_answers_are_not_learned_from() -> None:
    safe, unsafe = states(0, 20, 4), states(1, 20, 4, shift=50)
    labels = np.arange(40) >= 20
    scores = Mahalanobis().fit(safe + unsafe, labels)(safe + unsafe)
    assert min(s[-1] for s in scores[20:]) > 5 * max(s[-1] for s in scores[:20])


UNSAFE = np.arange(40) >= 20


@given(st.integers(0, 50), st.integers(2, 12))
def test_no_training_point_is_outside(seed: int, tokens: int) -> None:
    seen = states(seed, 20, tokens) + states(seed + 1, 20, tokens, shift=9)
    scores = Box().fit(seen, UNSAFE)(seen)
    assert max(s.max() for s in scores[:20]) == 0
    assert max(s.max() for s in scores[20:]) > 0


def test_distance_is_in_radii() -> None:
    low, high = np.array([[-1.0, -1.0]]), np.array([[1.0, 1.0]])
    points = np.array([[0, 0], [1, 1], [2, 0], [3, 0], [2, 2]])
    assert outside(points, low, high) == pytest.approx([0, 0, 1, 2, 1])


def test_the_nearest_box_counts() -> None:
    low, high = np.array([[-1.0], [9.0]]), np.array([[1.0], [11.0]])
    assert outside(np.array([[5.0], [8.0], [10.0]]), low, high) == pytest.approx([4, 1, 0])


def test_clusters_grow_while_they_pay() -> None:
    draw = np.random.default_rng(0)
    three = np.concatenate([draw.normal(c, 0.01, (50, 2)) for c in (0, 5, 9)])
    assert len(set(clusters(three, gain=0.7, most=10))) == 3
    assert set(clusters(np.zeros((4, 2)), gain=0.07, most=10)) == {0}


def test_the_score_never_falls() -> None:
    seen = states(0, 20, 8) + states(1, 20, 8, shift=9)
    assert all((np.diff(s) >= 0).all() for s in Box().fit(seen, UNSAFE)(seen))


CORNERS = np.array([[0, 0], [9, 0], [0, 9]])
ODD = np.arange(60) % 2 == 1


def walks(paths) -> list[Generation]:
    draw, found = np.random.default_rng(0), []
    for i in range(60):
        hidden = CORNERS[paths[i % 2]] + draw.normal(size=(len(paths[i % 2]), 2)) * 0.1
        found.append(Generation(trace(["x"] * len(hidden), hidden=hidden)))
    return found


def test_states_that_only_unsafe_answers_visit_are_found() -> None:
    some = walks([[0, 1, 0, 1], [0, 1, 2, 1]])
    found = AbstractStates(clusters=3).fit(some, ODD)(some)
    assert auroc(ODD, [s[-1] for s in found]) == 1
    assert auroc(ODD, [s[1] for s in found]) == 0.5  # as far as they are alike


def test_steps_count_where_states_do_not_tell() -> None:
    """Both kinds visit the same states equally often, in another order."""
    some = walks([[0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 2, 1]])
    found = AbstractStates(clusters=3).fit(some, ODD)(some)
    assert auroc(ODD, [s[-1] for s in found]) == 1


def test_scores_are_shares_of_unsafe_answers() -> None:
    some = walks([[0, 1, 0, 1], [0, 1, 2, 1]])
    found = np.concatenate(AbstractStates().fit(some, ODD)(some))
    assert ((found > 0) & (found < 1)).all()
