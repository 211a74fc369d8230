"""Entropy: of the whole vocabulary and of the likeliest tokens."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online.made import trace
from trustllm_repro.online.monitors.base import Generation
from trustllm_repro.online.monitors.entropy import MONITORS, of_top

BY_NAME = {m.name: m for m in MONITORS}


def test_scores_by_hand() -> None:
    seen = [Generation(trace(["a", "b", "c"], entropy=[1.0, 5.0, 3.0]))]
    assert BY_NAME["average entropy"](seen)[0].tolist() == [1, 3, 3]
    assert BY_NAME["maximum entropy"](seen)[0].tolist() == [1, 5, 5]


def test_the_likeliest_are_made_to_sum_to_one() -> None:
    some = trace(["a", "b"], top=np.log([[0.1, 0.1, 0.1, 0.1, 0.1], [0.2, 0.2, 1e-9, 1e-9, 1e-9]]))
    assert of_top(some) == pytest.approx([np.log(5), np.log(2)], abs=1e-5)


def test_ruled_out_tokens_add_nothing() -> None:
    some = trace(["a"], top=[[0.0, -np.inf, -np.inf, -np.inf, -np.inf]])
    assert of_top(some).tolist() == [0]
