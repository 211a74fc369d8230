"""Likelihood and entropy of the tokens: one pass, O(1) a token."""

from __future__ import annotations

import numpy as np
from scipy.special import entr, softmax

from trustllm_repro.online.generations.trace import Trace
from trustllm_repro.online.monitors import running
from trustllm_repro.online.monitors.base import Need
from trustllm_repro.online.monitors.running import Running


def surprise(trace: Trace) -> np.ndarray:
    """How unlikely the chosen tokens were, - ln p, (n,) nats."""
    return -trace.logp


def entropy(trace: Trace) -> np.ndarray:
    """How undecided the model was, (n,) nats, over the whole vocabulary."""
    return trace.entropy


def of_top(trace: Trace) -> np.ndarray:
    """(n,) nats, over the likeliest tokens alone, their probabilities made to sum to 1.

    What can be had through an endpoint. Look Before You Leap takes base 2 and leaves the sum below
    1, so that its figures for open and closed models cannot be compared; this one's can.
    """
    return entr(softmax(trace.top_logp.astype(np.float64), axis=1)).sum(axis=1)


_ALL = {
    "average {}": running.mean,
    "maximum {}": running.highest,
    "average {}, sentences": running.sentence_mean,
    "maximum {}, sentences": running.sentence_highest,
}
MONITORS = tuple(
    Running(name=form.format(kind), signal=signal, statistic=s, needs=frozenset({need}))
    for kind, signal, need in (
        ("likelihood", surprise, Need.LOGP), ("entropy", entropy, Need.ENTROPY),
    )
    for form, s in _ALL.items()
) + tuple(
    Running(name=name, signal=of_top, statistic=s, needs=frozenset({Need.TOP}))
    for name, s in (
        ("average entropy, top 5", running.mean), ("maximum entropy, top 5", running.highest),
    )
)  # fmt: skip
