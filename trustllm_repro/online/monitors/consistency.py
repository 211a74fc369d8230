"""Answers that ought to agree: distances, VR and VRO.

Huang et al. 2023 (arXiv 2307.10236), section 3.2. With T further answers y and the greedy y0:
VR = 1 - mean over i of mean over j != i of (1 - d(y_i, y_j)), VRO = 1 - mean of (1 - d(y_i, y0)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from trustllm_repro.judges.matching import normalise, token_f1
from trustllm_repro.online.generations.trace import sentence_ends

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
    from trustllm_repro.judges.similarity import default_embedder

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
