"""Likelihood: unlikely tokens are dangerous."""

from __future__ import annotations

import pytest

from tests.online.made import trace
from trustllm_repro.online.monitors.base import Generation
from trustllm_repro.online.monitors.likelihood import MONITORS


def test_scores_by_hand() -> None:
    seen = [Generation(trace(["One.", " Two", " three"], logp=[-1.0, -4.0, -2.0]))]
    found = {m.name: m(seen)[0].tolist() for m in MONITORS}
    assert found == {
        "likelihood, token": [1, 4, 2],
        "average likelihood": pytest.approx([1, 2.5, 7 / 3]),
        "maximum likelihood": [1, 4, 4],
        "average likelihood, sentences": pytest.approx([1, 2.5, (1 + 3) / 2]),
        "maximum likelihood, sentences": [1, 2.5, 2.5],
    }
