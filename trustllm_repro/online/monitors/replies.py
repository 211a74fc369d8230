"""A second look by a language model: is what was said so far harmful, untrue, supported?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import Need, StatelessMonitor, held


@dataclass(frozen=True, kw_only=True)
class Replies(StatelessMonitor):
    """Score that the replies to one question (online.generations.extras.QUESTIONS) stand for."""

    question: str
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.REPLIES})

    def score(self, generation: Generation) -> np.ndarray:
        known = generation.replies.get(self.question, np.zeros((0, 3)))
        return held(len(generation.trace), known[:, 0].astype(int).tolist(), known[:, 1].tolist())


MONITORS = (
    Replies(
        name="self-examination", question="harmful", source="Phute et al. 2023 (arXiv 2308.07308)"
    ),
    Replies(
        name="SelfCheck prompt",
        question="supported",
        source="Manakul et al. 2023 (arXiv 2303.08896), section 5.5",
    ),
)
