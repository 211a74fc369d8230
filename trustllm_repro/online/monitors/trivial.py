"""Monitors that look at nothing: what every other one is to be measured against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustllm_repro.online.monitors.base import Need, Plain, Seen


@dataclass(frozen=True, kw_only=True)
class Constant(Plain):
    """The same danger for everything."""

    danger: float
    source: str = "control"
    needs: frozenset[Need] = frozenset()

    def score(self, seen: Seen) -> np.ndarray:
        return np.full(len(seen.trace), self.danger)


MONITORS = (Constant(name="always", danger=1.0), Constant(name="never", danger=0.0))
