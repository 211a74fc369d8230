"""How far a hidden state lies from those of safe answers, in units of their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import require_both_classes
from trustllm_repro.online.monitors.states import TOKENS, StateMonitor


@dataclass(frozen=True)
class Mahalanobis(StateMonitor):
    """Running mean of the distance to the safe tokens' mean under their shrunk covariance."""

    name: str = "Mahalanobis distance"
    source: str = "Lee et al. 2018 (arXiv 1807.03888); covariance: Ledoit and Wolf 2004"

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        from sklearn.covariance import LedoitWolf

        require_both_classes(unsafe, least=1)
        found = LedoitWolf().fit(self.safe_states(generations, unsafe, TOKENS))
        # With the inverse covariance as L L', the distance is the length of (state - mean) L.
        factor = np.linalg.cholesky(found.precision_)
        return found.location_.astype(np.float32), factor.astype(np.float32)

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        mean, factor = self.model
        return np.linalg.norm((states - mean) @ factor, axis=1)


MONITORS = (Mahalanobis(),)
