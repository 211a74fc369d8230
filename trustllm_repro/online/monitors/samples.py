"""Do further answers, sampled beside this one, say the same so far? (VR and VRO)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import Need, StatelessMonitor, held
from trustllm_repro.online.monitors.consistency import (
    Distance,
    by_meaning,
    by_words,
    checkpoints,
    vr,
    vro,
)


@dataclass(frozen=True, kw_only=True)
class Samples(StatelessMonitor):
    """VR or VRO of the answers as far as they have come: all are generated side by side.

    Attributes:
        at: numbers of tokens after which the answers are compared; always at the end too.
    """

    statistic: Callable[[np.ndarray], float]
    distance: Distance
    at: tuple[int, ...] = (8, 16, 32, 64)
    source: str = "Huang et al. 2023 (arXiv 2307.10236)"
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.SAMPLES})

    def score(self, generation: Generation) -> np.ndarray:
        n = len(generation.trace)
        at = checkpoints(n, self.at)
        texts = [
            [generation.trace.prefix(c), *(s.prefix(min(c, len(s))) for s in generation.samples)]
            for c in at
        ]
        return held(n, at, [self.statistic(self.distance(t)) for t in texts])


MONITORS = (
    Samples(name="sample VR, words", statistic=vr, distance=by_words),
    Samples(name="sample VRO, words", statistic=vro, distance=by_words),
    Samples(name="sample VR, meaning", statistic=vr, distance=by_meaning),
    Samples(name="sample VRO, meaning", statistic=vro, distance=by_meaning),
)
