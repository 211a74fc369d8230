"""The protocol of a reading, and what several readings share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from trustllm_repro.schema import NULL, STOPPED, UNLABELLED, Item, Response, Verdict


class Reading(Protocol):
    """Reads one response. Pure: the same item and response give the same verdict."""

    def __call__(self, item: Item, response: Response) -> Verdict: ...


@dataclass(frozen=True)
class NeedsJudge:
    """The label a judge gave. The authors' judges' labels of such answers were never recorded;
    live answers carry those of ours."""

    judge: str

    def __call__(self, item: Item, response: Response) -> Verdict:
        if response.text is None:
            return NULL
        return UNLABELLED if response.judge is None else Verdict.of(response.judge)


@dataclass(frozen=True)
class Stops:
    """Reading of a function that ends with an error at a null answer, so it gives no value at all.

    Most functions of the toolkit do: they call string methods on whatever stands there.
    """

    reading: Reading

    def __call__(self, item: Item, response: Response) -> Verdict:
        return STOPPED if response.text is None else self.reading(item, response)


@dataclass(frozen=True)
class ByRecordFormat:
    """Different readings for different record formats: the authors used several scripts."""

    formats: Mapping[str, Reading]
    otherwise: Reading

    def __call__(self, item: Item, response: Response) -> Verdict:
        return self.formats.get(response.record_format, self.otherwise)(item, response)

    def __hash__(self) -> int:
        return hash((tuple(self.formats), self.otherwise))


@dataclass(frozen=True)
class ByFacet:
    """Different readings for different values of a field of the item (several sub-tasks)."""

    field: str
    values: Mapping[str, Reading]

    def __call__(self, item: Item, response: Response) -> Verdict:
        return self.values[str(item.extra[self.field])](item, response)

    def __hash__(self) -> int:
        return hash((self.field, tuple(self.values)))
