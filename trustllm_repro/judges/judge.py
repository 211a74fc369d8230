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
        name: e.g. "refusal"; every table that rests on it names it.
        digest: of weights and rules; judgements are stored under it and made once.
    """

    name: str
    digest: str

    def __call__(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Judgement]:
        """One judgement per response; `items[i]` is the item of `responses[i]`."""
        ...


@dataclass(frozen=True)
class FunctionJudge:
    """A judge that is a function of items and responses."""

    name: str
    digest: str
    judge: Callable[[Sequence[Item], Sequence[Response]], list[Judgement]]

    def __call__(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Judgement]:
        return self.judge(items, responses)

    @classmethod
    def one_by_one(
        cls, name: str, digest: str, judge: Callable[[Item, str], Judgement]
    ) -> FunctionJudge:
        """One that looks at an item and the text of its answer alone; none of a null answer."""

        def each(items: Sequence[Item], responses: Sequence[Response]) -> list[Judgement]:
            pairs = zip(items, responses, strict=True)
            return [NOTHING if r.text is None else judge(i, r.text) for i, r in pairs]

        return cls(name, digest, each)


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
