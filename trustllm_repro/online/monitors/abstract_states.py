"""Abstract states: clusters of hidden states, and a Markov chain over them (LUNA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import require_both_classes
from trustllm_repro.online.monitors.states import TOKENS, StateMonitor


@dataclass(frozen=True)
class AbstractStates(StateMonitor):
    """Running mean of how often a state, and the step into it, belonged to unsafe answers.

    Attributes:
        size: principal components kept. clusters: abstract states.
        prior: answers of the average kind added to every state and transition.
    """

    name: str = "abstract states"
    source: str = "Song et al. 2023, LUNA (arXiv 2310.14211)"
    size: int = 16
    clusters: int = 64
    prior: float = 10.0

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline

        require_both_classes(unsafe)
        drawn = np.concatenate(self.known_states(generations, TOKENS))
        k = min(self.clusters, len(drawn))
        parts = PCA(min(self.size, *drawn.shape), random_state=0)
        chain = make_pipeline(parts, KMeans(k, n_init=1, random_state=0)).fit(drawn)
        counts = np.zeros((2, k + 1, k))  # row k: no state before the first
        for states, bad in zip(self.known_states(generations), unsafe, strict=True):
            found = chain.predict(states) if len(states) else np.zeros(0, int)
            before = np.concatenate([[k], found])[: len(found)]
            np.add.at(counts[int(bad)], (before, found), 1 / max(len(found), 1))
        base = counts[1].sum() / counts.sum()

        def share(n: np.ndarray) -> np.ndarray:
            return (n[1] + self.prior * base) / (n.sum(axis=0) + self.prior)

        return chain, share(counts.sum(axis=1)), share(counts)

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        chain, of_state, of_step = self.model
        found = chain.predict(states)
        before = np.concatenate([[len(of_state)], found[:-1]])
        return (of_state[found] + of_step[before, found]) / 2


MONITORS = (AbstractStates(),)
