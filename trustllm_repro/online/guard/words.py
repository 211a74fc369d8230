"""A linear reader of text, word by word: for models that show nothing else."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BUCKETS = 2**15
LONGEST = 32
# A word of a script with blanks, one character of those without, or a sign.
_WORD = re.compile(
    rf"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0eff]|[^\W_]{{1,{LONGEST}}}|[^\w\s]"
)


def split_words(text: str) -> list[str]:
    """Its words, as `WordProbe.add` finds them."""
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
class WordProbe:
    """Score after n words: sum of the words' and word pairs' weights over n + burn_in; O(1) a word.

    Attributes:
        weight: (BUCKETS,) float32. burn_in: see probe.Probe.
    """

    weight: np.ndarray
    burn_in: float = 16.0

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
            reading.total += float(self.weight[at].sum())
            reading.words += len(words)
            reading.last = words[-1]
        reading.rest = reading.rest[cut:]
        if not reading.words:
            return float("nan")
        return reading.total / (reading.words + self.burn_in)

    def read(self, text: str, ends: Sequence[int]) -> np.ndarray:
        """Score after each token, (tokens,) float64; `ends`: characters up to each token's end."""
        reading, start, scores = Reading(), 0, []
        for i, end in enumerate(ends):
            scores.append(self.add(reading, text[start:end], i == len(ends) - 1))
            start = end
        return np.array(scores, dtype=np.float64)
