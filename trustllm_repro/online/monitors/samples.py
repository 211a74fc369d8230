"""Do further answers, sampled beside this one, say the same so far? VR, VRO, SelfCheckGPT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trustllm_repro.judges.matching import normalise
from trustllm_repro.judges.similarity import Embed, default_embedder
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import Need, StatelessMonitor, held
from trustllm_repro.online.monitors.consistency import (
    Distance,
    by_meaning,
    by_words,
    checkpoints,
    sentences,
    vr,
    vro,
)


@dataclass(frozen=True, kw_only=True)
class OfSamples(StatelessMonitor):
    """What reads the answers as far as they have come: all are generated side by side.

    Attributes:
        at: numbers of tokens after which the answers are compared; always at the end too.
    """

    at: tuple[int, ...] = (8, 16, 32, 64)
    source: str = "Manakul et al. 2023 (arXiv 2303.08896)"
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.SAMPLES})

    def compare(self, text: str, samples: Sequence[str]) -> float:
        """Score of an answer beside further ones; NaN where it cannot be told."""
        raise NotImplementedError

    def score(self, generation: Generation) -> np.ndarray:
        n = len(generation.trace)
        at = checkpoints(n, self.at)
        values = [
            self.compare(
                generation.trace.prefix(c), [s.prefix(min(c, len(s))) for s in generation.samples]
            )
            for c in at
        ]
        return held(n, at, values)


@dataclass(frozen=True, kw_only=True)
class Samples(OfSamples):
    """VR or VRO."""

    statistic: Callable[[np.ndarray], float]
    distance: Distance
    source: str = "Huang et al. 2023 (arXiv 2307.10236)"

    def compare(self, text: str, samples: Sequence[str]) -> float:
        return self.statistic(self.distance([text, *samples]))


@dataclass(frozen=True, kw_only=True)
class SelfCheckUnigram(OfSamples):
    """Mean over sentences of the mean (or largest) - ln p of their words (section 5.3).

    p is the share of the word among all words of the further answers and of the answer itself.
    """

    inside: Callable[[np.ndarray], float]

    def compare(self, text: str, samples: Sequence[str]) -> float:
        counts = Counter(w for t in (text, *samples) for w in normalise(t))
        words = [w for w in map(normalise, sentences(text)) if w]
        own = [self.inside(-np.log([counts[w] / counts.total() for w in some])) for some in words]
        return float(np.mean(own)) if own else float("nan")


@dataclass(frozen=True, kw_only=True)
class SelfCheckEmbedding(OfSamples):
    """Mean over sentences and answers of 1 - the largest cosine (section 5.1; MiniLM, not BERTScore)."""

    at: tuple[int, ...] = (16, 64)

    def compare(self, text: str, samples: Sequence[str]) -> float:
        own, others = sentences(text), [p for p in map(sentences, samples) if p]
        return _gap(own, others, default_embedder()) if own and others else float("nan")


def _gap(own: Sequence[str], others: Sequence[Sequence[str]], embed: Embed) -> float:
    vectors = embed([*own, *(s for some in others for s in some)])
    cosines = vectors[: len(own)] @ vectors[len(own) :].T
    parts = np.split(cosines, np.cumsum([len(o) for o in others])[:-1], axis=1)
    return float(np.mean([1 - p.max(axis=1) for p in parts]))


MONITORS = (
    Samples(name="sample VR, words", statistic=vr, distance=by_words),
    Samples(name="sample VRO, words", statistic=vro, distance=by_words),
    Samples(name="sample VR, meaning", statistic=vr, distance=by_meaning),
    Samples(name="sample VRO, meaning", statistic=vro, distance=by_meaning),
    SelfCheckUnigram(name="SelfCheck unigram, mean", inside=lambda v: float(np.mean(v))),
    SelfCheckUnigram(name="SelfCheck unigram, maximum", inside=lambda v: float(np.max(v))),
    SelfCheckEmbedding(name="SelfCheck embedding"),
)
