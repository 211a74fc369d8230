"""A linear reader of text, word by word: for models that show nothing else."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np

from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.monitors.base import Monitor, once, require_both_classes

BUCKETS = 2**15
SMOOTHING = 2.0  # added to every count of words
LONGEST = 32
# A word of a script with blanks, one character of those without, or a sign.
_WORD = re.compile(
    rf"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0eff]|[^\W_]{{1,{LONGEST}}}|[^\w\s]"
)


def split_words(text: str) -> list[str]:
    """Its words, as `Words.add` finds them."""
    return [m.group().lower() for m in _WORD.finditer(text)]


def buckets(words: Sequence[str], before: str = "") -> np.ndarray:
    """(words, 2) int64: where each word, and each with the word before it, counts."""
    pairs = zip([before, *words], words, strict=False)
    return np.array(
        [(_bucket(word), _bucket(f"{last}\x00{word}")) for last, word in pairs], dtype=np.int64
    ).reshape(-1, 2)


def _bucket(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) % BUCKETS


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

    Score after n words: sum of the words' and word pairs' weights over n + burn_in; O(1) a word.

    Attributes:
        model: (BUCKETS,) float32, weights.
        burn_in: words without evidence that are put before the first, so that one odd word there
            does not decide.
    """

    name: str = "words"
    source: str = "Domingos and Pazzani 1997; as online.guard reads text"
    burn_in: float = 16.0

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        """Log ratio of smoothed frequencies, halved: a word counts alone and in a pair."""
        require_both_classes(unsafe)
        counts = [
            once(g.trace, "words", lambda t: buckets(split_words(t.text)).ravel())
            for g in generations
        ]
        logs = []
        for kind in (True, False):
            of_kind = np.concatenate([c for c, u in zip(counts, unsafe, strict=True) if u == kind])
            often = np.bincount(of_kind, minlength=BUCKETS) + SMOOTHING
            logs.append(np.log(often / often.sum()))
        return replace(self, model=((logs[0] - logs[1]) / 2).astype(np.float32))

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
        if found and not end and found[-1].end() == len(reading.rest):
            cut = found.pop().start()
        else:
            cut = len(reading.rest)
        words = [m.group().lower() for m in found]
        if words:
            at = buckets(words, reading.last)
            reading.total += float(self.model[at].sum())
            reading.words += len(words)
            reading.last = words[-1]
        reading.rest = reading.rest[cut:]
        if not reading.words:
            return float("nan")
        return reading.total / (reading.words + self.burn_in)


MONITORS = (Words(),)
