"""Judges of live answers: each fills in what the authors' judges left in the records.

A judge annotates answers with a label or a number; the same readings that read the recorded
labels then make verdicts of them. So a live answer differs from a recorded one only in origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trustllm_repro.schema import Item, Response


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge says of one answer: a label, a number, or neither (it could not tell).

    `reason` says why there is neither, in a few words of ours, never text of the answer.
    `unsure`: the judge's own score lies in the middle, so that the label says little.
    """

    label: str | None = None
    number: float | None = None
    reason: str = ""
    unsure: bool = False


class Judge(Protocol):
    """Judges all answers to one task at once, so that pairs and batches can be formed.

    Attributes:
        name: e.g. "refusal"; stands in every table that rests on it.
        digest: of weights and rules; judgements are stored under it and made once.
    """

    name: str
    digest: str

    def __call__(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Judgement]:
        """One judgement per response; `items[i]` is the item of `responses[i]`."""
        ...
