"""Likelihood and entropy of the tokens, and running statistics of them: one pass, O(1) a token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import entr, softmax

from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.monitors.base import Access, Need, StatelessMonitor


def mean(values: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """Mean of all tokens so far."""
    return np.cumsum(values) / np.arange(1, len(values) + 1)


def highest(values: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """Largest of all tokens so far."""
    return np.maximum.accumulate(values)


def token(values: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """The token's own."""
    return values


def sentence_mean(values: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """Mean over sentences of the mean over their tokens (Look Before You Leap)."""
    return _over_sentences(values, sentences, mean)


def sentence_highest(values: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """Mean over sentences of the largest of their tokens (Look Before You Leap)."""
    return _over_sentences(values, sentences, highest)


def _over_sentences(values, sentences, inside) -> np.ndarray:
    """The last sentence counts as far as it has come."""
    out = np.empty(len(values))
    before = 0.0
    for done, number in enumerate(np.unique(sentences)):
        at = np.flatnonzero(sentences == number)
        own = inside(values[at], sentences[at])
        out[at] = (before + own) / (done + 1)
        before += own[-1]
    return out


@dataclass(frozen=True, kw_only=True)
class Running(StatelessMonitor):
    """A running statistic of a number that the trace holds for every token."""

    signal: Callable[[Trace], np.ndarray]
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]
    source: str = "Huang et al. 2023 (arXiv 2307.10236)"
    access: Access = Access.GREY

    def score(self, generation: Generation) -> np.ndarray:
        values = self.signal(generation.trace).astype(np.float64)
        return self.statistic(values, generation.trace.sentences)


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
    "average {}": mean,
    "maximum {}": highest,
    "average {}, sentences": sentence_mean,
    "maximum {}, sentences": sentence_highest,
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
        ("average entropy, top 5", mean), ("maximum entropy, top 5", highest),
    )
)  # fmt: skip
