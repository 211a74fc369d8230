"""The first token's distribution: sparse, and learned from with few features."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online.made import trace
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import InsufficientData
from trustllm_repro.online.monitors.first_token import FirstToken, features


def answers(n: int, seed: int = 0) -> tuple[list[Generation], np.ndarray]:
    """Token 5 is likely where the answer is safe; all others are noise."""
    draw = np.random.default_rng(seed)
    unsafe = np.arange(n) % 2 == 1
    seen = []
    for u in unsafe:
        logp = dict.fromkeys(range(20), 0.0) | {k: float(draw.normal()) for k in range(20)}
        logp[5] += 0.0 if u else 4.0
        best = sorted(logp, key=logp.get, reverse=True)[:12]
        seen.append(Generation(trace(["x", "y"], first={k: logp[k] for k in best})))
    return seen, unsafe


def test_the_telling_token_is_found() -> None:
    monitor = FirstToken().fit(*answers(80))
    seen, unsafe = answers(40, seed=1)
    scores = np.array([s[0] for s in monitor(seen)])
    assert ((scores > 0) == unsafe).mean() > 0.9
    assert np.abs(monitor.model.coef_[0]).argmax() == 5


def test_one_score_for_the_whole_answer() -> None:
    monitor = FirstToken().fit(*answers(20))
    assert all(len(set(s)) == 1 for s in monitor(answers(4)[0]))


def test_features_are_nats_above_the_least() -> None:
    table = features(
        [
            Generation(trace(["x"], first={3: -1.0, 0: -4.0})),
            Generation(trace(["x"], first={9: -2.0})),
        ],
        5,
    )
    assert table.toarray().tolist() == [[0, 0, 0, 3, 0], [0, 0, 0, 0, 0]]


def test_what_was_not_recorded_is_said() -> None:
    with pytest.raises(InsufficientData, match="not recorded"):
        features([Generation(trace(["x"]))])
