"""A small network on the hidden state of the last token (SAPLMA), applied to every token."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors import running
from trustllm_repro.online.monitors.base import require_both_classes
from trustllm_repro.online.monitors.states import StateMonitor


@dataclass(frozen=True)
class Saplma(StateMonitor):
    """Perceptron 256-128-64-1, ReLU, Adam, cross-entropy, 5 epochs, batches of 32.

    Trained on the last tokens of whole answers, as published; what it says of beginnings it was
    not taught. The score is the token's own.
    """

    name: str = "SAPLMA"
    source: str = "Azaria and Mitchell 2023 (arXiv 2304.13734)"
    statistic: Any = running.token
    epochs: int = 5

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        known = self.known_states(generations)
        some = [i for i, states in enumerate(known) if len(states)]
        require_both_classes(unsafe[some])
        states = np.stack([known[i][-1] for i in some])
        network = MLPClassifier(
            (256, 128, 64), batch_size=min(32, len(some)), max_iter=self.epochs, random_state=0
        )
        with warnings.catch_warnings():
            # Five epochs are the published setting; that they are few is no news.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return make_pipeline(StandardScaler(), network).fit(states, unsafe[some])

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(states)[:, 1]


MONITORS = (Saplma(),)
