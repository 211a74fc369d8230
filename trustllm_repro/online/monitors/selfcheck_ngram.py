"""SelfCheckGPT, n-gram: are the words of a sentence rare among the words of further answers?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trustllm_repro.judges.matching import normalise
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.generations.trace import sentence_ends
from trustllm_repro.online.monitors.base import Need, StatelessMonitor, held
from trustllm_repro.online.monitors.consistency import checkpoints


@dataclass(frozen=True, kw_only=True)
class SelfCheckUnigram(StatelessMonitor):
    """Mean over sentences of the mean (or largest) - ln p of their words.

    p is the share of the word among all words of the further answers and of the answer itself.
    """

    inside: Callable[[np.ndarray], float]
    at: tuple[int, ...] = (8, 16, 32, 64)
    source: str = "Manakul et al. 2023 (arXiv 2303.08896), section 5.3"
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.SAMPLES})

    def score(self, generation: Generation) -> np.ndarray:
        at = checkpoints(len(generation.trace), self.at)
        values = []
        for c in at:
            samples = [s.prefix(min(c, len(s))) for s in generation.samples]
            values.append(self._score(generation.trace.prefix(c), samples))
        return held(len(generation.trace), at, values)

    def _score(self, text: str, samples: Sequence[str]) -> float:
        counts = Counter(w for t in (text, *samples) for w in normalise(t))
        sentences = np.split(np.array(list(text)), sentence_ends(text))
        words = [w for w in (normalise("".join(s)) for s in sentences) if w]
        total = counts.total()
        own = [self.inside(-np.log([counts[w] / total for w in some])) for some in words]
        return float(np.mean(own)) if own else float("nan")


MONITORS = (
    SelfCheckUnigram(name="SelfCheck unigram, mean", inside=lambda v: float(np.mean(v))),
    SelfCheckUnigram(name="SelfCheck unigram, maximum", inside=lambda v: float(np.max(v))),
)
