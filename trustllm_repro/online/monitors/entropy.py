"""How undecided the model was: entropy of the distribution each token was drawn from."""

from __future__ import annotations

import numpy as np
from scipy.special import entr, softmax

from trustllm_repro.online.generations.trace import Trace
from trustllm_repro.online.monitors import running
from trustllm_repro.online.monitors.base import Need


def whole(trace: Trace) -> np.ndarray:
    """(n,) nats, over the whole vocabulary."""
    return trace.entropy


def of_top(trace: Trace) -> np.ndarray:
    """(n,) nats, over the likeliest tokens alone, their probabilities made to sum to 1.

    What can be had through an endpoint. Look Before You Leap takes base 2 and leaves the sum below
    1, so that its figures for open and closed models cannot be compared; this one's can.
    """
    return entr(softmax(trace.top_logp.astype(np.float64), axis=1)).sum(axis=1)


_STATISTICS = {
    "entropy, token": running.token,
    "average entropy": running.mean,
    "maximum entropy": running.highest,
    "average entropy, sentences": running.sentence_mean,
    "maximum entropy, sentences": running.sentence_highest,
}
_TOP = {"average entropy, top 5": running.mean, "maximum entropy, top 5": running.highest}


def _all(signal, need: Need, statistics) -> tuple[running.Running, ...]:
    return tuple(
        running.Running(name=name, signal=signal, statistic=s, needs=frozenset({need}))
        for name, s in statistics.items()
    )


MONITORS = _all(whole, Need.ENTROPY, _STATISTICS) + _all(of_top, Need.TOP, _TOP)
