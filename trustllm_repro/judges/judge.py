"""Judges of live answers: each fills in what the authors' judges left in the records.

A judge annotates answers with a label or a number; the same parsers that read the recorded labels
then make verdicts of them. So a live answer differs from a recorded one only in origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trustllm_repro.schema import Item, Response


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge says of one answer: a label, a number, or neither (it could not tell).

    `unsure`: the judge's own score lies in the middle, so that the label says little.
    """

    label: str | None = None
    number: float | None = None
    unsure: bool = False


NOTHING = Judgement()


class Judge(Protocol):
    """Judges all answers to one task at once, so that pairs and batches can be formed.

    Attributes:
        name: e.g. "refusal"; stands in every table that rests on it.
        digest: of weights and rules; judgements are stored under it and made once.
    """

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def __call__(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Judgement]:
        """One judgement per response; `items[i]` is the item of `responses[i]`."""
        ...


@dataclass(frozen=True)
class SingleJudge:
    """A judge that looks at one answer at a time, by a function of item and text; none of a null
    answer."""

    name: str
    digest: str
    judge: Callable[[Item, str], Judgement]

    def __call__(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Judgement]:
        pairs = zip(items, responses, strict=True)
        return [NOTHING if r.text is None else self.judge(i, r.text) for i, r in pairs]


def judge_texts(
    responses: Sequence[Response],
    judge: Callable[[list[str]], Iterable[Judgement]],
    blank: Judgement = NOTHING,
) -> list[Judgement]:
    """Judgements of texts alone, all at once; `blank` of blank answers, none of null ones."""
    said = [r.text for r in responses if r.text and r.text.strip()]
    found = iter(judge(said))
    return [
        NOTHING if r.text is None else next(found) if r.text.strip() else blank for r in responses
    ]
