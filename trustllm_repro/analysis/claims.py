"""The papers' headline claims: statement, evidence, test, verdict (notebook 16).

Every claim is one small function of the evidence; `@claim` registers it. The verdict follows from
the numbers by the criterion in the function, never from what the paper says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from trustllm_repro.analysis.evidence import Evidence
from trustllm_repro.metrics.comparisons import Test

SUPPORTED, REFUTED = "supported", "not supported"
ARTEFACT, UNDECIDED = "artefact", "not decidable from records"


@dataclass(frozen=True)
class Finding:
    """What the numbers say of one claim."""

    evidence: str
    verdict: str
    test: Test | None = None
    cells: tuple[tuple[str, str], ...] = ()  # (table, column) the evidence rests on


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, in our words, with the function that puts it to the test."""

    id: str
    statement: str
    examine: Callable[[Evidence], Finding]


CLAIMS: dict[str, Claim] = {}


def claim(id_: str, statement: str) -> Callable[[Callable[[Evidence], Finding]], Claim]:
    """Register a function as the examination of a claim."""

    def register(examine: Callable[[Evidence], Finding]) -> Claim:
        CLAIMS[id_] = Claim(id_, statement, examine)
        return CLAIMS[id_]

    return register


def significant(test: Test, sign: int, level: float = 0.05) -> bool:
    """The effect has the claimed sign and its p-value is below the level."""
    return not math.isnan(test.p) and test.p < level and test.value * sign > 0
