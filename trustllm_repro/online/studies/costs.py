"""What a monitor costs besides the answer itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trustllm_repro.online.monitors.base import Monitor, Need, Seen
from trustllm_repro.online.studies.hybrids import MEMBERS
from trustllm_repro.online.studies.study import Row, Study


def costs(study: Study) -> list[Row]:
    """Microseconds a token that scoring takes, median of the seeds, and further generations.

    Times are measured, so they differ from run to run; what the monitors read (embeddings of the
    text included) was made before. What costs generation is made once for all monitors: a hybrid
    costs as many further generations as the costliest of its members, a single monitor pays alone.
    """
    alone = {name: further(m, study.answered.seen) for name, m in study.monitors.items()}
    return [
        {
            "monitor": name,
            "microseconds_per_token": 1e6 * float(np.median([t.seconds_per_token for t in seeds])),
            "further_generations": max(alone[m] for m in _members(name, alone)),
        }
        for name, seeds in study.everyone.items()
    ]


def _members(name: str, alone: dict[str, float]) -> Sequence[str]:
    return (name,) if name in alone else MEMBERS[name.split(": ", 1)[1]]


def further(monitor: Monitor, seen: Sequence[Seen]) -> float:
    """Answers, or replies to a question, that the model must give besides each answer; the mean."""
    found = 0.0
    if Need.SAMPLES in monitor.needs:
        found += _mean([len(s.samples) for s in seen])
    if Need.BRANCHES in monitor.needs:
        found += _mean([len(texts) for s in seen for texts in s.branches.values()])
    if Need.REPLIES in monitor.needs:  # only that kind knows what its question takes
        found += _mean([monitor.asked(s) for s in seen])  # type: ignore[attr-defined]
    return found


def _mean(counts: Sequence[int]) -> float:
    return float(np.mean(counts)) if counts else 0.0
