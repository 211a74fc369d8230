"""What the prompt alone tells: a linear probe of the state before the first token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustllm_repro.online.monitors.base import Scores, Seen, both_kinds
from trustllm_repro.online.monitors.states import StateMonitor


@dataclass(frozen=True)
class PromptProbe(StateMonitor):
    """Logistic regression on the prompt's last state; one score for the whole answer.

    The baseline of the pilot study: what is known before anything is said.
    """

    name: str = "prompt probe"
    source: str = "Latent Sentinel (OpenReview tuFRx6Ww2n)"
    penalty: float = 0.01

    def learn(self, seen: Sequence[Seen], unsafe: np.ndarray, layer: int) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        first = {i: s.trace.hidden[layer][0] for i, s in enumerate(seen) if len(s.trace)}
        some = [i for i, state in first.items() if np.isfinite(state).all()]
        both_kinds(unsafe[some])
        regression = LogisticRegression(C=self.penalty, max_iter=500, class_weight="balanced")
        states = np.stack([first[i] for i in some]).astype(np.float32)
        return make_pipeline(StandardScaler(), regression).fit(states, unsafe[some])

    def danger(self, states: np.ndarray) -> np.ndarray:
        return self.model.decision_function(states)

    def __call__(self, seen: Sequence[Seen]) -> Scores:
        return [np.full(len(s), s[0] if len(s) else 0.0) for s in super().__call__(seen)]


MONITORS = (PromptProbe(layer=-1),)
