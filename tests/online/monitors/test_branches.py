"""Perturbation: where the token is changed, and what comes of it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online.made import words
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.branches import MONITORS, POSITIONS


@pytest.mark.parametrize(
    ("entropy", "places"),
    [([3.0, 1.0, 2.5, 2.0], [0, 1, 2]), ([1.0], [0, 0, 0]), ([0.0, 0.0, 4.0], [2, 0, 2])],
)
def test_positions(entropy, places) -> None:
    assert [p(np.array(entropy)) for p in POSITIONS.values()] == places


def test_scores_come_at_the_end() -> None:
    branches = {"entropy jump": ["one two", "one two"], "maximum entropy": ["six", "seven"]}
    found = {m.name: m([Generation(words("one two"), branches=branches)])[0] for m in MONITORS}
    assert all(np.isnan(s[0]) for s in found.values())
    assert found["perturbation VR, entropy jump"][1] == 0
    assert found["perturbation VRO, entropy jump"][1] == 0
    assert found["perturbation VR, maximum entropy"][1] == 1
    assert found["perturbation VRO, maximum entropy"][1] == 1
    assert np.isnan(found["perturbation VRO, minimum entropy"][1])  # no branches were made
