"""How unlikely the chosen tokens were: - ln p."""

from __future__ import annotations

import numpy as np

from trustllm_repro.online.generations.trace import Trace
from trustllm_repro.online.monitors import running
from trustllm_repro.online.monitors.base import Need


def surprise(trace: Trace) -> np.ndarray:
    """(n,) nats."""
    return -trace.logp


MONITORS = tuple(
    running.Running(name=name, signal=surprise, statistic=statistic, needs=frozenset({Need.LOGP}))
    for name, statistic in {
        "likelihood, token": running.token,
        "average likelihood": running.mean,
        "maximum likelihood": running.highest,
        "average likelihood, sentences": running.sentence_mean,
        "maximum likelihood, sentences": running.sentence_highest,
    }.items()
)
