"""The protocol of a parser, and what several parsers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from trustllm_repro.schema import NULL, STOPPED, UNPARSED, Item, Response, Verdict


def one_of(labels: Collection[str]) -> Verdict:
    """The only label; unparsed where there are several or none."""
    return Verdict.of(next(iter(labels))) if len(labels) == 1 else UNPARSED


def graded(right: bool) -> Verdict:
    return Verdict.of("right" if right else "wrong")


class Parser(Protocol):
    """Reads one response. Pure: the same item and response give the same verdict."""

    def __call__(self, item: Item, response: Response) -> Verdict: ...


class TextParser(ABC):
    """A parser that looks at the text alone, by its method `read`; a null answer has none."""

    def __call__(self, item: Item, response: Response) -> Verdict:
        return NULL if response.text is None else self.read(item, response.text)

    @abstractmethod
    def read(self, item: Item, text: str) -> Verdict: ...


@dataclass(frozen=True)
class Stops:
    """A parser whose function ends with an error at a null answer, so it gives no value at all.

    Most functions of the toolkit do: they call string methods on whatever stands there.
    """

    parser: Parser

    def __call__(self, item: Item, response: Response) -> Verdict:
        return STOPPED if response.text is None else self.parser(item, response)


@dataclass(frozen=True)
class ByRecordFormat:
    """Different parsers for different record formats: the authors used several scripts."""

    formats: Mapping[str, Parser]
    otherwise: Parser

    def __call__(self, item: Item, response: Response) -> Verdict:
        return self.formats.get(response.record_format, self.otherwise)(item, response)


@dataclass(frozen=True)
class ByFacet:
    """Different parsers for different values of a field of the item (several sub-tasks)."""

    field: str
    values: Mapping[str, Parser]

    def __call__(self, item: Item, response: Response) -> Verdict:
        return self.values[str(item.extra[self.field])](item, response)
