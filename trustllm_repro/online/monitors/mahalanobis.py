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
        found = LedoitWolf().fit(safe_table(seen, unsafe, layer, self.tokens))
        # With the inverse covariance as L L', the distance is the length of (state - mean) L.
        factor = np.linalg.cholesky(found.precision_)
        return found.location_.astype(np.float32), factor.astype(np.float32)

    def danger(self, states: np.ndarray) -> np.ndarray:
        mean, factor = self.model
        return np.linalg.norm((states - mean) @ factor, axis=1)


MONITORS = (Mahalanobis(),)
