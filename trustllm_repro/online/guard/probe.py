"""A linear probe of hidden states and the running mean of what it says: O(1) a token."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class Probe:
    """Score after n tokens: sum over the tokens of (weight . state + bias), over n + burn_in.

    A linear probe of the running mean of states is the running mean of a linear probe, so probes
    trained on tokens, on prefixes, or on both are one vector, and a step is one product for all
    rows.

    Attributes:
        layers: whose states stand one after the other, numbered from 1.
        weight: (layers x size,) float32. bias: float32.
        burn_in: tokens without evidence that are put before the first, so that one odd token at the
            beginning does not decide.
    """

    layers: tuple[int, ...]
    weight: torch.Tensor
    bias: float
    burn_in: float = 0.0

    def to(self, device: torch.device) -> Probe:
        return replace(self, weight=self.weight.to(device))

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(rows, layers x size) -> (rows,), what each row's last token says."""
        return states.float() @ self.weight + self.bias

    def level(self, total: torch.Tensor, n: int) -> torch.Tensor:
        """Score after n tokens of which `total` is the sum."""
        return total / (n + self.burn_in)

    def read(self, states: np.ndarray) -> np.ndarray:
        """(tokens, layers x size) of one answer -> (tokens,) float64, the score after each."""
        each = states.astype(np.float64) @ self.weight.double().numpy() + self.bias
        return np.cumsum(each) / (np.arange(1, len(each) + 1) + self.burn_in)
