"""Box abstraction: is a hidden state outside all boxes around those of safe answers?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors import running
from trustllm_repro.online.monitors.base import require_both_classes
from trustllm_repro.online.monitors.boxes import around, clusters, outside
from trustllm_repro.online.monitors.states import StateMonitor


@dataclass(frozen=True)
class Box(StateMonitor):
    """Largest distance so far to the nearest box, in radii.

    Attributes:
        size: principal components kept; a box in all dimensions rejects nearly everything.
        gain, most: when to stop adding clusters, see boxes.clusters.
        slack: by how much of its length each side grows.
    """

    name: str = "box abstraction"
    source: str = "Henzinger et al. 2020 (arXiv 1911.09032)"
    statistic: Any = running.highest
    size: int = 16
    gain: float = 0.07
    most: int = 32
    slack: float = 0.0

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        from sklearn.decomposition import PCA

        require_both_classes(unsafe, least=1)
        states = self.safe_states(generations, unsafe).astype(np.float64)
        parts = PCA(min(self.size, *states.shape), random_state=0).fit(states)
        points = parts.transform(states)
        return parts, *around(points, clusters(points, self.gain, self.most), self.slack)

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        parts, low, high = self.model
        return outside(parts.transform(states.astype(np.float64)), low, high)


MONITORS = (Box(),)
