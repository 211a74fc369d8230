"""SelfCheckGPT with embeddings: does each sentence have a like one in every further answer?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trustllm_repro.judges.similarity import Embed, default_embedder
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.generations.trace import sentence_ends
from trustllm_repro.online.monitors.base import Need, StatelessMonitor, held
from trustllm_repro.online.monitors.consistency import checkpoints


def sentences(text: str) -> list[str]:
    """The text cut at the ends of its sentences; blank ones left out."""
    cuts = [0, *sentence_ends(text).tolist(), len(text)]
    parts = [text[a:b].strip() for a, b in pairwise(cuts)]
    return [p for p in parts if p]


@dataclass(frozen=True, kw_only=True)
class SelfCheckEmbedding(StatelessMonitor):
    """Mean over sentences and answers of 1 - the largest cosine (MiniLM, not BERTScore)."""

    name: str = "SelfCheck embedding"
    at: tuple[int, ...] = (16, 64)
    source: str = "Manakul et al. 2023 (arXiv 2303.08896), section 5.1"
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.SAMPLES})

    def score(self, generation: Generation) -> np.ndarray:
        embed = default_embedder()
        at = checkpoints(len(generation.trace), self.at)
        values = []
        for c in at:
            own = sentences(generation.trace.prefix(c))
            others = [
                p for p in (sentences(s.prefix(min(c, len(s)))) for s in generation.samples) if p
            ]
            values.append(_gap(own, others, embed) if own and others else np.nan)
        return held(len(generation.trace), at, values)


def _gap(own: Sequence[str], others: Sequence[Sequence[str]], embed: Embed) -> float:
    vectors = embed([*own, *(s for some in others for s in some)])
    cosines = vectors[: len(own)] @ vectors[len(own) :].T
    parts = np.split(cosines, np.cumsum([len(o) for o in others])[:-1], axis=1)
    return float(np.mean([1 - p.max(axis=1) for p in parts]))


MONITORS = (SelfCheckEmbedding(),)
