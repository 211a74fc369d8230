"""How far a hidden state lies from those of safe answers, in units of their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustllm_repro.online.monitors.base import Seen, both_kinds
from trustllm_repro.online.monitors.states import StateMonitor, safe_table


@dataclass(frozen=True)
class Mahalanobis(StateMonitor):
    """Running mean of the distance to the safe tokens' mean under their shrunk covariance."""

    name: str = "Mahalanobis distance"
    source: str = "Lee et al. 2018 (arXiv 1807.03888); covariance: Ledoit and Wolf 2004"
    tokens: int = 16

    def learn(self, seen: Sequence[Seen], unsafe: np.ndarray, layer: int) -> Any:
        from sklearn.covariance import LedoitWolf

        both_kinds(unsafe, least=1)
        return LedoitWolf().fit(safe_table(seen, unsafe, layer, self.tokens))

    def danger(self, states: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(self.model.mahalanobis(states), 0))


MONITORS = (Mahalanobis(),)
