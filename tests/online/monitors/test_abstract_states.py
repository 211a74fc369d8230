"""Abstract states: clusters, and steps between them that unsafe answers take."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score as auroc

from tests.online.made import trace
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.abstract_states import AbstractStates

CORNERS = np.array([[0, 0], [9, 0], [0, 9]])
UNSAFE = np.arange(60) % 2 == 1


def walks(paths) -> list[Generation]:
    draw, found = np.random.default_rng(0), []
    for i in range(60):
        hidden = CORNERS[paths[i % 2]] + draw.normal(size=(len(paths[i % 2]), 2)) * 0.1
        found.append(Generation(trace(["x"] * len(hidden), hidden=hidden)))
    return found


def test_states_that_only_unsafe_answers_visit_are_found() -> None:
    some = walks([[0, 1, 0, 1], [0, 1, 2, 1]])
    found = AbstractStates(clusters=3).fit(some, UNSAFE)(some)
    assert auroc(UNSAFE, [s[-1] for s in found]) == 1
    assert auroc(UNSAFE, [s[1] for s in found]) == 0.5  # as far as they are alike


def test_steps_count_where_states_do_not_tell() -> None:
    """Both kinds visit the same states equally often, in another order."""
    some = walks([[0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 2, 1]])
    found = AbstractStates(clusters=3).fit(some, UNSAFE)(some)
    assert auroc(UNSAFE, [s[-1] for s in found]) == 1


def test_scores_are_shares_of_unsafe_answers() -> None:
    some = walks([[0, 1, 0, 1], [0, 1, 2, 1]])
    found = np.concatenate(AbstractStates().fit(some, UNSAFE)(some))
    assert ((found > 0) & (found < 1)).all()
