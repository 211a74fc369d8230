"""Text to numbers for the learned judges: hashed n-grams of words and characters, and lengths.

Every n-gram is hashed to a column, so no vocabulary (and so no text of an answer) is stored. The
hash is spelt out here rather than taken from a library: weights are tied to it, and it must not
change with a version of anything. Only numpy and scipy are imported.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from trustllm_repro.parsers import language

_HAN_CHARACTER = re.compile(f"[{language.HAN}]")
_LETTER = rf"[^\W\d_{language.HAN}]"
_WORD = re.compile(rf"[{language.HAN}]|{_LETTER}+(?:'{_LETTER}+)?|\d|[^\w\s]")
_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"'})
# Nothing beyond is read: one runaway answer must not cost as much as a thousand others.
MAX_CHARACTERS = 20_000
_STEP, _MIX = np.uint32(0x9E3779B1), np.uint32(0x85EBCA6B)

HAN = "share of Chinese or Japanese characters"
LENGTHS = (
    "log of words",
    "no words",
    "under 8 words",
    "under 30 words",
    "under 100 words",
    HAN,
    "opens with a brace",
)


@dataclass(frozen=True)
class View:
    """One block of n-grams; each text's block has Euclidean length `weight`.

    Attributes:
        name: salt of the hash, so that the same n-gram has another column in another view.
        unit: "word" or "character".
        sizes: shortest and longest n-gram.
        first, last: only so many units of the beginning, or of the end; 0 means all.
        counts: 1 + log(count) instead of presence.
    """

    name: str
    unit: str
    sizes: tuple[int, int]
    first: int = 0
    last: int = 0
    counts: bool = False
    weight: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How a text becomes a sparse row of 2**bits numbers."""

    views: tuple[View, ...]
    bits: int = 18


@lru_cache(maxsize=2**17)
def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "replace"))


def _hashes(words: Sequence[str]) -> np.ndarray:
    return np.fromiter(map(_hash, words), np.uint32, len(words))


def words(text: str) -> list[str]:
    """Lower-case words, digits and punctuation marks of a text, in order."""
    return _WORD.findall(text[:MAX_CHARACTERS].lower().translate(_PLAIN))


def _characters(text: str) -> np.ndarray:
    """Code points of the lower-case text; every run of white space is one space."""
    plain = " ".join(text[:MAX_CHARACTERS].lower().translate(_PLAIN).split())
    return np.frombuffer(f" {plain} ".encode("utf-32-le", "replace"), np.uint32)


def _window(units: np.ndarray, view: View) -> np.ndarray:
    if view.first:
        return units[: view.first]
    return units[-view.last :] if view.last else units


def _ngrams(units: np.ndarray, view: View, bits: int) -> np.ndarray:
    """Columns of all n-grams of the view, with repetitions. Overflow of uint32 is meant."""
    salt = np.uint32(zlib.crc32(view.name.encode()))
    rolled, found = np.zeros(len(units), np.uint32), []
    for n in range(1, min(view.sizes[1], len(units)) + 1):
        rolled = (rolled[: len(units) - n + 1] ^ units[n - 1 :]) * _STEP
        rolled ^= rolled >> np.uint32(15)
        if n >= view.sizes[0]:
            mixed = (rolled ^ salt ^ np.uint32(n)) * _MIX
            found.append(mixed >> np.uint32(32 - bits))
    return np.concatenate(found) if found else np.zeros(0, np.uint32)


def _block(units: np.ndarray, view: View, bits: int) -> tuple[np.ndarray, np.ndarray]:
    columns, times = np.unique(_ngrams(_window(units, view), view, bits), return_counts=True)
    values = 1 + np.log(times) if view.counts else np.ones(len(columns))
    norm = np.sqrt((values**2).sum()) or 1.0
    return columns, values * (view.weight / norm)


def vectorise(texts: Sequence[str], recipe: Recipe) -> sparse.csr_matrix:
    """Hashed n-grams, float64, shape (len(texts), 2**recipe.bits). A row depends on its text only,
    never on its neighbours."""
    indices, values, ends = [np.zeros(0, np.uint32)], [np.zeros(0)], [0]
    for text in texts:
        units = {"word": _hashes(words(text))}
        if any(v.unit == "character" for v in recipe.views):
            units["character"] = _characters(text)
        blocks = [_block(units[v.unit], v, recipe.bits) for v in recipe.views]
        indices.extend(columns for columns, _ in blocks)
        values.extend(numbers for _, numbers in blocks)
        ends.append(ends[-1] + sum(len(columns) for columns, _ in blocks))
    shape = (len(texts), 2**recipe.bits)
    columns = np.concatenate(indices).astype(np.int32)
    matrix = sparse.csr_matrix((np.concatenate(values), columns, np.array(ends)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def lengths(texts: Sequence[str]) -> np.ndarray:
    """The numbers named in `LENGTHS`, each about 0 to 1; shape (len(texts), 7)."""
    rows = []
    for text in texts:
        n, sample = len(words(text)), text[:MAX_CHARACTERS]
        han = len(_HAN_CHARACTER.findall(sample)) / max(len(sample), 1)
        brace = sample.lstrip()[:1] == "{"
        rows.append([math.log1p(n) / 6, n == 0, n < 8, n < 30, n < 100, han, brace])
    return np.array(rows, dtype=float).reshape(len(texts), len(LENGTHS))


@dataclass(frozen=True)
class Lexicon:
    """Valence of words, from -4 (bad) to 4 (good), known by the hash of the word only.

    Attributes:
        hashes: sorted crc32 of the words, uint32, shape (n,).
        valences: float, shape (n,).
    """

    hashes: np.ndarray
    valences: np.ndarray

    def look_up(self, hashes: np.ndarray) -> np.ndarray:
        """Valence of each hashed word, 0 where the lexicon does not know it."""
        if not len(self.hashes):
            return np.zeros(len(hashes))
        at = np.searchsorted(self.hashes, hashes).clip(max=len(self.hashes) - 1)
        return np.where(self.hashes[at] == hashes, self.valences[at], 0.0).astype(float)

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Six numbers of the whole text and six of its first 60 words; shape (len(texts), 12)."""
        rows = []
        for text in texts:
            valences = self.look_up(_hashes(words(text)[:1000]))
            rows.append([*_valence(valences), *_valence(valences[:60])])
        return np.array(rows, dtype=float).reshape(len(texts), 12)


def _valence(v: np.ndarray) -> list[float]:
    """Lowest, mean of the three lowest, negative and positive sum per word, share of clearly
    negative words, log of length."""
    v, n = (v, len(v)) if len(v) else (np.zeros(1), 1)
    worst = np.sort(v)[:3].mean()
    down, up = v[v < 0].sum() / n, v[v > 0].sum() / n
    return [v.min(), worst, down, up, (v < -1.5).mean(), math.log(n)]
