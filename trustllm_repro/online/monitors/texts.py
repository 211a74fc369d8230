"""Monitors that read text: word by word; or whole, to compare answers or have them classified.

Those that read whole texts need a comparison, a forward pass or further answers each time, so they
look at an answer after some numbers of tokens only, and do not go on from token to token.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Self

import numpy as np
import pandas as pd

from trustllm_repro.judges.learned import RefusalJudge, ToxicityJudge
from trustllm_repro.judges.models import default_embedder
from trustllm_repro.judges.rules import normalise, token_f1
from trustllm_repro.online.generations.generation import Generation, Trace, sentence_ends
from trustllm_repro.online.monitors.base import Monitor, Need, checkpoints, require_both_classes

BUCKETS = 2**15
SMOOTHING = 2.0  # added to every count of words
# A word of a script with blanks, one character of those without, or a sign.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0eff]|[^\W_]{1,32}|[^\w\s]")


def buckets(words: Sequence[str], before: str = "") -> np.ndarray:
    """(2 x words,) int64: where each word, and each with the word before it, counts."""
    pairs = zip([before, *words], words, strict=False)
    keys = [key for last, word in pairs for key in (word, f"{last}\x00{word}")]
    hashes = [zlib.crc32(key.encode("utf-8", "surrogatepass")) for key in keys]
    return np.array(hashes, dtype=np.int64) % BUCKETS


@dataclass
class Reading:
    """A text so far: sum over its whole words, their number, and what is not a whole word yet."""

    total: float = 0.0
    words: int = 0
    last: str = ""
    rest: str = ""


@dataclass(frozen=True, eq=False)
class Words(Monitor):
    """Naive Bayes on words and word pairs: how much more often unsafe answers hold them.

    Score after n words: sum of their and their pairs' weights over n + burn_in; O(1) a word. The
    model is the weights, (BUCKETS,) float32.
    """

    name: str = "words"
    source: str = "Domingos and Pazzani 1997; as online.guard reads text"
    burn_in: float = 16.0  # so that one odd word at the start does not decide

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        """Log ratio of smoothed frequencies, halved: a word counts alone and in a pair."""
        require_both_classes(unsafe)
        counts = np.full((2, BUCKETS), SMOOTHING)  # in safe and unsafe answers
        for generation, kind in zip(generations, unsafe.astype(int), strict=True):
            words = [word.lower() for word in _WORD.findall(generation.trace.text)]
            np.add.at(counts[kind], buckets(words), 1)
        safe, bad = np.log(counts / counts.sum(axis=1, keepdims=True))
        return replace(self, model=((bad - safe) / 2).astype(np.float32))

    def begin(self, generation: Generation) -> Reading:
        return Reading()

    def step(self, memory: Reading, tokens: Trace) -> np.ndarray:
        pieces = [tokens.text[a:b] for a, b in pairwise([0, *tokens.ends])]
        last = len(pieces) if tokens.finish else 0
        scores = [self.add(memory, piece, i == last) for i, piece in enumerate(pieces, start=1)]
        return np.array(scores, dtype=np.float64)

    def add(self, reading: Reading, text: str, end: bool = False) -> float:
        """Score of the text so far, `text` being what is new of it.

        The last word counts when something follows it, or at the `end`. NaN before the first.
        """
        reading.rest += text
        found = list(_WORD.finditer(reading.rest))
        whole = end or not found or found[-1].end() < len(reading.rest)
        reading.rest = "" if whole else found.pop().group()
        words = [m.group().lower() for m in found]
        reading.total += float(self.model[buckets(words, reading.last)].sum())
        reading.words += len(words)
        reading.last = [reading.last, *words][-1]
        return reading.total / (reading.words + self.burn_in) if reading.words else float("nan")


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


def vr(distance: Distance, text: str, samples: Sequence[str]) -> float:
    """Mean distance of two of the samples, the answer not among them; NaN with fewer than two
    (Huang et al. 2023, arXiv 2307.10236, section 3.2)."""
    t = len(samples)
    return float(distance(samples).sum() / (t * (t - 1))) if t > 1 else float("nan")


def vro(distance: Distance, text: str, samples: Sequence[str]) -> float:
    """Mean distance of the samples to the answer; NaN with none."""
    return float(distance([text, *samples])[0, 1:].mean()) if samples else float("nan")


def held(n: int, at: Sequence[int], values: Sequence[float]) -> np.ndarray:
    """Scores known at some numbers of tokens, held until the next; NaN before the first, (n,)."""
    known = pd.Series(values, index=at, dtype=np.float64).sort_index()
    return known.reindex(range(1, n + 1), method="ffill").to_numpy()


def sentences(text: str) -> list[str]:
    """The text cut at the ends of its sentences; blank ones left out."""
    cuts = pairwise([0, *sentence_ends(text).tolist(), len(text)])
    return [part for a, b in cuts if (part := text[a:b].strip())]


@dataclass(frozen=True, kw_only=True)
class Samples(Monitor):
    """Compares an answer with further ones as far as they have come, all written side by side."""

    compare: Callable[[str, Sequence[str]], float]  # NaN where it cannot be told
    at: tuple[int, ...] = (8, 16, 32, 64)  # numbers of tokens; always at the end too
    source: str = "Manakul et al. 2023 (arXiv 2303.08896)"
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.SAMPLES})

    def others(self, generation: Generation, tokens: int) -> Sequence[str]:
        return [s.prefix(min(tokens, len(s))) for s in generation.samples]

    def score(self, generation: Generation) -> np.ndarray:
        trace = generation.trace
        at = checkpoints(len(trace), self.at)
        values = [self.compare(trace.prefix(n), self.others(generation, n)) for n in at]
        return held(len(trace), at, values)


def unigram(inside: Callable[[np.ndarray], float], text: str, samples: Sequence[str]) -> float:
    """SelfCheckGPT: mean over sentences of the mean (or largest) - ln p of their words (section
    5.3); p is the share of the word among all words of the further answers and of this one."""
    counts = Counter(w for t in (text, *samples) for s in sentences(t) for w in normalise(s))
    words = [w for w in map(normalise, sentences(text)) if w]
    own = [inside(-np.log([counts[w] / counts.total() for w in some])) for some in words]
    return float(np.mean(own)) if own else float("nan")


def embedding(text: str, samples: Sequence[str]) -> float:
    """SelfCheckGPT: mean over sentences and answers of 1 - the largest cosine (section 5.1), of
    MiniLM's embeddings, not BERTScore's."""
    own, others = sentences(text), [p for p in map(sentences, samples) if p]
    if not own or not others:
        return float("nan")
    vectors = default_embedder()([*own, *(s for some in others for s in some)])
    cosines = vectors[: len(own)] @ vectors[len(own) :].T
    parts = np.split(cosines, np.cumsum([len(o) for o in others])[:-1], axis=1)
    return float(np.mean([1 - p.max(axis=1) for p in parts]))


# Which token is replaced by the next most likely, by the name its texts have in Generation.branches.
POSITIONS: dict[str, Callable[[np.ndarray], int]] = {
    "maximum entropy": np.argmax,
    "minimum entropy": np.argmin,
    # Where it rose most from one token to the next, the later of the two.
    "entropy jump": lambda entropy: np.argmax(np.diff(entropy, prepend=np.inf)),
}


@dataclass(frozen=True, kw_only=True)
class Branches(Samples):
    """The same with answers that go on greedily from other tokens at one position, which is chosen
    in the whole answer; so there is no score before its end."""

    position: str
    at: tuple[int, ...] = ()
    source: str = "Huang et al. 2023 (arXiv 2307.10236)"
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.ENTROPY, Need.TOP, Need.BRANCHES})

    def others(self, generation: Generation, tokens: int) -> Sequence[str]:
        return generation.branches.get(self.position, ())


@dataclass(frozen=True, kw_only=True)
class TextClassifier(Monitor):
    """A classifier of texts, 0 to 1, on every prefix that ends at a checkpoint; no monitor where it
    gives the labels (online.labels.judges)."""

    classifier: Callable[[Sequence[str]], np.ndarray]
    at: tuple[int, ...] = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    source: str = "data/judges/README.md"

    def score(self, generation: Generation) -> np.ndarray:
        trace = generation.trace
        at = checkpoints(len(trace), self.at)
        return held(len(trace), at, self.classifier([trace.prefix(n) for n in at]))


@dataclass(frozen=True, kw_only=True)
class Replies(Monitor):
    """Score from the replies to one question (online.generations.collect.replies)."""

    question: str
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.REPLIES})

    def score(self, generation: Generation) -> np.ndarray:
        known = generation.replies.get(self.question, ())
        return held(len(generation.trace), [row[0] for row in known], [row[1] for row in known])


_VARIATION = {
    "VR, words": partial(vr, by_words),
    "VRO, words": partial(vro, by_words),
    "VR, meaning": partial(vr, by_meaning),
    "VRO, meaning": partial(vro, by_meaning),
}

MONITORS = (
    *(
        Samples(name=f"sample {name}", compare=compare, source=Branches.source)
        for name, compare in _VARIATION.items()
    ),
    Samples(name="SelfCheck unigram, mean", compare=partial(unigram, np.mean)),
    Samples(name="SelfCheck unigram, maximum", compare=partial(unigram, np.max)),
    Samples(name="SelfCheck embedding", compare=embedding, at=(16, 64)),
    *(
        Branches(
            name=f"perturbation {short}, {p}", position=p, compare=_VARIATION[f"{short}, words"]
        )
        for p in POSITIONS
        for short in ("VR", "VRO")
    ),
    TextClassifier(name="guard: toxicity", classifier=lambda texts: ToxicityJudge().scores(texts)),
    TextClassifier(  # on harmful requests, what is no refusal may be unsafe
        name="guard: compliance", classifier=lambda texts: 1 - RefusalJudge().scores(texts)
    ),
    Replies(
        name="self-examination", question="harmful", source="Phute et al. 2023 (arXiv 2308.07308)"
    ),
    Replies(name="SelfCheck prompt", question="supported", source=f"{Samples.source}, section 5.5"),
    Words(),
)
