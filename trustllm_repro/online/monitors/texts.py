"""Monitors that read whole texts: do answers agree, and what do classifiers and models say of them?

They cost a comparison, a forward pass or further answers each time, so they look at an answer after
some numbers of tokens only, and do not go on from token to token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from trustllm_repro.judges.rules import normalise, token_f1
from trustllm_repro.judges.similarity import default_embedder
from trustllm_repro.online.generations.generation import Generation, sentence_ends
from trustllm_repro.online.monitors.base import Monitor, Need, Scores, checkpoints

# All pairwise distances of texts, 0 to 1, shape (texts, texts).
Distance = Callable[[Sequence[str]], np.ndarray]


def by_words(texts: Sequence[str]) -> np.ndarray:
    """1 - F1 of the words."""
    words = [normalise(t) for t in texts]
    return np.array([[0.0 if a is b else 1 - token_f1(a, b) for b in words] for a in words])


def by_meaning(texts: Sequence[str]) -> np.ndarray:
    """(1 - cosine of MiniLM embeddings), not above 1."""
    vectors = default_embedder()(list(texts))
    d = np.clip(1 - vectors @ vectors.T, 0, 1)
    np.fill_diagonal(d, 0)
    return d


def vr(distances: np.ndarray) -> float:
    """1 - mean over i of mean over j != i of (1 - d(y_i, y_j)); NaN with fewer than two answers.

    Huang et al. 2023 (arXiv 2307.10236), section 3.2. Not of the first answer, which is y0.
    """
    others = distances[1:, 1:]
    t = len(others)
    return float(others.sum() / (t * (t - 1))) if t > 1 else float("nan")


def vro(distances: np.ndarray) -> float:
    """1 - mean of (1 - d(y_i, y0)), y0 being the first answer; NaN with no other."""
    return float(distances[0, 1:].mean()) if len(distances) > 1 else float("nan")


def held(n: int, at: Sequence[int], values: Sequence[float]) -> np.ndarray:
    """Scores known at some numbers of tokens, held until the next; NaN before the first, (n,)."""
    scores = np.full(n, np.nan)
    for tokens, value in sorted(zip(at, values, strict=True)):
        scores[max(int(tokens), 1) - 1 :] = value
    return scores


def sentences(text: str) -> list[str]:
    """The text cut at the ends of its sentences; blank ones left out."""
    cuts = [0, *sentence_ends(text).tolist(), len(text)]
    parts = [text[a:b].strip() for a, b in pairwise(cuts)]
    return [p for p in parts if p]


@dataclass(frozen=True, kw_only=True)
class Samples(Monitor):
    """What compares an answer with further ones as far as they have come, all written side by side.

    Attributes:
        compare: score of a text beside further ones; NaN where it cannot be told.
        at: numbers of tokens after which the answers are compared; always at the end too.
    """

    compare: Callable[[str, Sequence[str]], float]
    at: tuple[int, ...] = (8, 16, 32, 64)
    source: str = "Manakul et al. 2023 (arXiv 2303.08896)"
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.SAMPLES})

    def score(self, generation: Generation) -> np.ndarray:
        trace = generation.trace
        at = checkpoints(len(trace), self.at)
        values = [
            self.compare(trace.prefix(c), [s.prefix(min(c, len(s))) for s in generation.samples])
            for c in at
        ]
        return held(len(trace), at, values)


def disagreement(
    statistic: Callable[[np.ndarray], float], distance: Distance, text: str, samples: Sequence[str]
) -> float:
    return statistic(distance([text, *samples]))


def unigram(inside: Callable[[np.ndarray], float], text: str, samples: Sequence[str]) -> float:
    """SelfCheckGPT: mean over sentences of the mean (or largest) - ln p of their words (section 5.3).

    p is the share of the word among all words of the further answers and of the answer itself.
    """
    counts = Counter(w for t in (text, *samples) for s in sentences(t) for w in normalise(s))
    words = [w for w in map(normalise, sentences(text)) if w]
    own = [inside(-np.log([counts[w] / counts.total() for w in some])) for some in words]
    return float(np.mean(own)) if own else float("nan")


def embedding(text: str, samples: Sequence[str]) -> float:
    """SelfCheckGPT: mean over sentences and answers of 1 - the largest cosine (section 5.1).

    Of MiniLM's embeddings, not BERTScore's.
    """
    own, others = sentences(text), [p for p in map(sentences, samples) if p]
    if not own or not others:
        return float("nan")
    vectors = default_embedder()([*own, *(s for some in others for s in some)])
    cosines = vectors[: len(own)] @ vectors[len(own) :].T
    parts = np.split(cosines, np.cumsum([len(o) for o in others])[:-1], axis=1)
    return float(np.mean([1 - p.max(axis=1) for p in parts]))


def entropy_jump(entropy: np.ndarray) -> int:
    """Where entropy rose most from one token to the next; the later of the two."""
    return int(np.argmax(np.diff(entropy))) + 1 if len(entropy) > 1 else 0


# Which token is replaced by the next most likely, by the name its texts have in Generation.branches.
POSITIONS: dict[str, Callable[[np.ndarray], int]] = {
    "maximum entropy": lambda entropy: int(np.argmax(entropy)),
    "minimum entropy": lambda entropy: int(np.argmin(entropy)),
    "entropy jump": entropy_jump,
}


@dataclass(frozen=True, kw_only=True)
class Branches(Monitor):
    """VR or VRO of the answers that go on greedily from other tokens at one position.

    Known at the end only: the position is chosen in the whole answer.
    """

    position: str
    statistic: Callable[[np.ndarray], float]
    source: str = "Huang et al. 2023 (arXiv 2307.10236)"
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.ENTROPY, Need.TOP, Need.BRANCHES})

    def score(self, generation: Generation) -> np.ndarray:
        n, others = len(generation.trace), generation.branches.get(self.position, ())
        return held(n, [n], [disagreement(self.statistic, by_words, generation.trace.text, others)])


def toxicity(texts: Sequence[str]) -> np.ndarray:
    """The toxicity judge of live answers, see judges.learned."""
    from trustllm_repro.judges.learned import ToxicityJudge

    return ToxicityJudge().scores(texts)


def compliance(texts: Sequence[str]) -> np.ndarray:
    """1 - probability of a refusal: on harmful requests, what is no refusal may be unsafe."""
    from trustllm_repro.judges.learned import RefusalJudge

    return 1 - RefusalJudge().probabilities(texts)


@dataclass(frozen=True, kw_only=True)
class TextClassifier(Monitor):
    """A classifier of texts, 0 to 1, on every prefix that ends at a checkpoint.

    Where the same classifier gives the labels (online.labels.judges), it is no monitor.
    """

    classifier: Callable[[Sequence[str]], np.ndarray]
    at: tuple[int, ...] = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    source: str = "data/judges/README.md"

    def score(self, generation: Generation) -> np.ndarray:
        return self([generation])[0]

    def __call__(self, generations: Sequence[Generation]) -> Scores:
        traces = [g.trace for g in generations]
        at = [checkpoints(len(t), self.at) for t in traces]
        texts = [t.prefix(c) for t, some in zip(traces, at, strict=True) for c in some]
        values = np.split(self.classifier(texts), np.cumsum([len(some) for some in at])[:-1])
        return [held(len(t), c, v) for t, c, v in zip(traces, at, values, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Replies(Monitor):
    """Score that the replies to one question (online.generations.collect.QUESTIONS) stand for."""

    question: str
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.REPLIES})

    def score(self, generation: Generation) -> np.ndarray:
        known = generation.replies.get(self.question, np.zeros((0, 3)))
        return held(len(generation.trace), known[:, 0], known[:, 1])


HUANG, MANAKUL = Branches.source, Samples.source
_STATISTICS = {"VR": vr, "VRO": vro}
_DISTANCES: dict[str, Distance] = {"words": by_words, "meaning": by_meaning}

MONITORS = (
    *(
        Samples(name=f"sample {short}, {of}", compare=partial(disagreement, s, d), source=HUANG)
        for of, d in _DISTANCES.items()
        for short, s in _STATISTICS.items()
    ),
    Samples(name="SelfCheck unigram, mean", compare=partial(unigram, np.mean)),
    Samples(name="SelfCheck unigram, maximum", compare=partial(unigram, np.max)),
    Samples(name="SelfCheck embedding", compare=embedding, at=(16, 64)),
    *(
        Branches(name=f"perturbation {short}, {position}", position=position, statistic=s)
        for position in POSITIONS
        for short, s in _STATISTICS.items()
    ),
    TextClassifier(name="guard: toxicity", classifier=toxicity),
    TextClassifier(name="guard: compliance", classifier=compliance),
    Replies(
        name="self-examination", question="harmful", source="Phute et al. 2023 (arXiv 2308.07308)"
    ),
    Replies(name="SelfCheck prompt", question="supported", source=f"{MANAKUL}, section 5.5"),
)
