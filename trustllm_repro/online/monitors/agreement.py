"""Do answers that ought to agree do so? VR, VRO, SelfCheckGPT; further answers or changed tokens.

Huang et al. 2023 (arXiv 2307.10236), section 3.2. With T further answers y and the greedy y0:
VR = 1 - mean over i of mean over j != i of (1 - d(y_i, y_j)), VRO = 1 - mean of (1 - d(y_i, y0)).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trustllm_repro.judges.rules import normalise, token_f1
from trustllm_repro.judges.similarity import Embed, default_embedder
from trustllm_repro.online.generations.generation import Generation, sentence_ends
from trustllm_repro.online.monitors.base import Access, Need, StatelessMonitor, held

# All pairwise distances of texts, 0 to 1, shape (texts, texts).
Distance = Callable[[Sequence[str]], np.ndarray]


def by_words(texts: Sequence[str]) -> np.ndarray:
    """1 - F1 of the words."""
    words = [normalise(t) for t in texts]
    d = np.zeros((len(words), len(words)))
    for i, a in enumerate(words):
        for j in range(i):
            d[i, j] = d[j, i] = 1 - token_f1(a, words[j])
    return d


def by_meaning(texts: Sequence[str]) -> np.ndarray:
    """(1 - cosine of MiniLM embeddings), not above 1."""
    vectors = default_embedder()(list(texts))
    d = np.clip(1 - vectors @ vectors.T, 0, 1)
    np.fill_diagonal(d, 0)
    return d


def vr(distances: np.ndarray) -> float:
    """Of all answers but the first, which is y0; NaN with fewer than two of them."""
    others = distances[1:, 1:]
    t = len(others)
    return float(others.sum() / (t * (t - 1))) if t > 1 else float("nan")


def vro(distances: np.ndarray) -> float:
    """Against the first answer; NaN with no other."""
    return float(distances[0, 1:].mean()) if len(distances) > 1 else float("nan")


def checkpoints(n: int, at: Sequence[int]) -> list[int]:
    """Those within an answer of n tokens, and its end."""
    return [*(c for c in at if c < n), n] if n else []


def sentences(text: str) -> list[str]:
    """The text cut at the ends of its sentences; blank ones left out."""
    cuts = [0, *sentence_ends(text).tolist(), len(text)]
    parts = [text[a:b].strip() for a, b in pairwise(cuts)]
    return [p for p in parts if p]


@dataclass(frozen=True, kw_only=True)
class OfSamples(StatelessMonitor):
    """What reads the answers as far as they have come: all are generated side by side.

    Attributes:
        at: numbers of tokens after which the answers are compared; always at the end too.
    """

    at: tuple[int, ...] = (8, 16, 32, 64)
    source: str = "Manakul et al. 2023 (arXiv 2303.08896)"
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.SAMPLES})

    @abstractmethod
    def compare(self, text: str, samples: Sequence[str]) -> float:
        """Score of an answer beside further ones; NaN where it cannot be told."""

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


def entropy_jump(entropy: np.ndarray) -> int:
    """Where entropy rose most from one token to the next; the later of the two."""
    return int(np.argmax(np.diff(entropy))) + 1 if len(entropy) > 1 else 0


# Which token is replaced by its next likeliest, by the name the texts go under in Generation.branches.
POSITIONS: dict[str, Callable[[np.ndarray], int]] = {
    "maximum entropy": lambda entropy: int(np.argmax(entropy)),
    "minimum entropy": lambda entropy: int(np.argmin(entropy)),
    "entropy jump": entropy_jump,
}


@dataclass(frozen=True, kw_only=True)
class Branches(StatelessMonitor):
    """VR or VRO of the answers that go on greedily from other tokens at one position.

    Known at the end only: the position is chosen in the whole answer.
    """

    position: str
    statistic: Callable[[np.ndarray], float]
    distance: Distance = by_words
    source: str = "Huang et al. 2023 (arXiv 2307.10236)"
    access: Access = Access.GREY
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.ENTROPY, Need.TOP, Need.BRANCHES})

    def score(self, generation: Generation) -> np.ndarray:
        texts = [generation.trace.text, *generation.branches.get(self.position, ())]
        return held(
            len(generation.trace), [len(generation.trace)], [self.statistic(self.distance(texts))]
        )


MONITORS = (
    Samples(name="sample VR, words", statistic=vr, distance=by_words),
    Samples(name="sample VRO, words", statistic=vro, distance=by_words),
    Samples(name="sample VR, meaning", statistic=vr, distance=by_meaning),
    Samples(name="sample VRO, meaning", statistic=vro, distance=by_meaning),
    SelfCheckUnigram(name="SelfCheck unigram, mean", inside=lambda v: float(np.mean(v))),
    SelfCheckUnigram(name="SelfCheck unigram, maximum", inside=lambda v: float(np.max(v))),
    SelfCheckEmbedding(name="SelfCheck embedding"),
    *(
        Branches(name=f"perturbation {short}, {position}", position=position, statistic=statistic)
        for position in POSITIONS
        for short, statistic in (("VR", vr), ("VRO", vro))
    ),
)
