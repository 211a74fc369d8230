"""A linear probe of the hidden state: does this token stand in an unsafe answer?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustllm_repro.online.monitors.base import Seen, both_kinds
from trustllm_repro.online.monitors.states import StateMonitor, table


@dataclass(frozen=True)
class LinearProbe(StateMonitor):
    """Logistic regression on tokens that carry the label of their answer; running mean of logits.

    Attributes:
        tokens: of each training answer, drawn at random, so that long ones do not outweigh.
        penalty: inverse of the strength of the ridge.
    """

    source: str = "Alain and Bengio 2016 (arXiv 1610.01644); arXiv 2606.10487"
    tokens: int = 16
    penalty: float = 0.01

    def learn(self, seen: Sequence[Seen], unsafe: np.ndarray, layer: int) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        both_kinds(unsafe)
        states, owner = table(seen, layer, self.tokens)
        regression = LogisticRegression(C=self.penalty, max_iter=500, class_weight="balanced")
        return make_pipeline(StandardScaler(), regression).fit(states, unsafe[owner])

    def danger(self, states: np.ndarray) -> np.ndarray:
        return self.model.decision_function(states)


MONITORS = (
    LinearProbe("linear probe, middle layer", layer=-2),
    LinearProbe("linear probe, last layer"),
)
