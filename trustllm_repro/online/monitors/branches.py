"""Does the answer change when one of its tokens is changed? (perturbation-based VR and VRO)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import Access, Need, StatelessMonitor, held
from trustllm_repro.online.monitors.consistency import Distance, by_words, vr, vro


def most_entropy(entropy: np.ndarray) -> int:
    """Where the model was least decided."""
    return int(np.argmax(entropy))


def least_entropy(entropy: np.ndarray) -> int:
    """Where it was most decided."""
    return int(np.argmin(entropy))


def entropy_jump(entropy: np.ndarray) -> int:
    """Where entropy rose most from one token to the next; the later of the two."""
    return int(np.argmax(np.diff(entropy))) + 1 if len(entropy) > 1 else 0


# Which token is replaced by its next likeliest, by the name the texts go under in Generation.branches.
POSITIONS: dict[str, Callable[[np.ndarray], int]] = {
    "maximum entropy": most_entropy,
    "minimum entropy": least_entropy,
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


MONITORS = tuple(
    Branches(name=f"perturbation {short}, {position}", position=position, statistic=statistic)
    for position in POSITIONS
    for short, statistic in (("VR", vr), ("VRO", vro))
)
