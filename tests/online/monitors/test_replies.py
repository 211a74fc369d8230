"""Replies of a model asked about the answer."""

from __future__ import annotations

import numpy as np

from tests.online.made import words
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.replies import MONITORS


def test_replies_hold_until_the_next() -> None:
    examined, supported = MONITORS
    seen = Generation(words("a b c d"), replies={"harmful": np.array([[4, 0.9], [2, 0.1]])})
    scores = examined([seen])[0]
    assert np.isnan(scores[0])
    assert scores[1:].tolist() == [0.1, 0.1, 0.9]
    assert np.isnan(supported([seen])[0]).all()
