"""What a task is. A task is declared with these classes, not programmed."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trustllm_repro.metrics.base import Metric
from trustllm_repro.parsers.base import Parser
from trustllm_repro.schema import RULES, Item, Rule

Row = Mapping[str, Any]
Feature = Callable[[Row, int], Any]  # of a raw row and the item's number
Where = Mapping[str, str]


@dataclass(frozen=True)
class RecordFormat:
    """One place where the authors stored answers to a task."""

    # In the repository, `{model}` for the model's folder; a folder of a commit's first seven digits
    # may stand before it.
    path: str
    name: str = "main"  # the place an answer came from, in the ledger
    where: Where = field(default_factory=dict)  # facets of the items answered there; default: all
    # Fields that a stored row and its item share, or a function of either; the k-th of equal rows
    # meets the k-th of equal items.
    key: Sequence[str] | Callable[[Row], Hashable] = ("prompt",)
    # Rows that meet no item so (older wording) are matched in order with the items left over, among
    # those with the same value of this field, if their numbers agree.
    by_position: str | None = None
    select: Callable[[Row], bool] = lambda row: True  # which rows of the file belong to the task
    revision: str = "published"  # what the result sheets rest on, otherwise the name of a redo
    scores: str | None = None  # field of a recorded number, if any

    def key_of(self, row: Row) -> Hashable:
        if callable(self.key):
            return self.key(row)
        values = (row[name] for name in self.key)
        return tuple(str(v) if isinstance(v, int) else v for v in values)  # "7" is 7

    def pattern(self) -> re.Pattern[str]:
        body = re.escape(self.path).replace(re.escape("{model}"), r"(?P<model>[^/]+?)")
        return re.compile(rf"(?:(?:.*/)?(?P<commit>[0-9a-f]{{7}})/|(?:.*/)?){body}")


@dataclass(frozen=True)
class Column:
    """One column of a published table, and how its value comes out of verdicts."""

    table: str
    column: str
    metric: Metric | Mapping[Rule, Metric | None] | None = None  # one for all rules or one per rule
    # Facet values an item must have; may differ by rule. "file" stands for the record format an
    # answer came from.
    where: Where | Mapping[Rule, Where] = field(default_factory=dict)
    without: Where = field(default_factory=dict)  # facet values an item must not have
    pooled: str | None = None  # rows are not models but values of this facet, over all models
    gap: str = ""  # why the value cannot come from the records, where it cannot
    redone: bool = False  # the published value rests on redone answers where there are any
    lower: bool = False  # smaller values are better

    @property
    def better(self) -> str:
        """Direction of the column, "lower" or "higher"."""
        return "lower" if self.lower else "higher"

    def metric_for(self, rule: Rule) -> Metric | None:
        return self.metric.get(rule) if isinstance(self.metric, Mapping) else self.metric

    def where_for(self, rule: Rule) -> Where:
        return self.where.get(rule, self.where)  # type: ignore[call-overload, return-value]

    def revisions(self, rule: Rule) -> tuple[str, ...]:
        """Revisions of answers the rule reads, later ones replacing earlier ones: what was published,
        even a copy of another model's answers; under the corrected rule the model's own answers,
        those redone with the official prompts, and live ones; under the toolkit's also live ones.
        """
        if rule is Rule.CORRECTED:
            return "published", "own", "redo", "generated"
        redo = ("redo",) if self.redone else ()
        made = ("generated",) if rule is Rule.TOOLKIT else ()
        return "published", "copy", *redo, *made


@dataclass(frozen=True)
class Task:
    """A task of the paper.

    Attributes:
        id: "dimension/name", unique.
        asks, source: the question it answers and its place in the paper, for readers.
        file: benchmark file without suffix; None when the items stand only in the records.
        select: which rows of the file are its items.
        gold: field or function that gives the right answer; "" if there is none.
        gold_is_label: whether a row's right answer is a label; text of the benchmark stays out of the
            ledger.
        facets: name -> field or function; what tables split by, or a number that the audit measures
            of an item, never text of the benchmark.
        pair: field or function that links items (an original and its perturbed versions). Values
            that are no integers are numbered by the first item that has them.
        parsers: one for all rules or one per rule; under a missing rule nothing is read.
        temperature: at which models are asked, as the released package does.
        live: False for prompts the official files do not hold, so that no model can be asked.
        answers_of: id of the task whose answers it reads, if not its own; recorded rows have no
            prompt then, and meet those answers by their text.
        options: the answers a prompt offers, as the parser knows them; a function of the item where
            they differ.
        judge: who labels live answers before they are read: a name in judges.registry.JUDGES.
    """

    id: str
    title: str
    asks: str
    source: str
    file: str | None
    parsers: Parser | Mapping[Rule, Parser]
    columns: Sequence[Column]
    select: Callable[[Row], bool] = lambda row: True
    gold: str | Feature = ""
    gold_is_label: Callable[[Row], bool] = lambda row: True
    facets: Mapping[str, str | Feature] = field(default_factory=dict)
    pair: str | Feature | None = None
    records: Sequence[RecordFormat] = ()
    temperature: int = 0
    live: bool = True
    answers_of: str = ""
    options: Sequence[str] | Callable[[Item], Sequence[str]] = ()
    judge: str = ""

    @property
    def dimension(self) -> str:
        return self.id.split("/")[0]

    def parser_for(self, rule: Rule) -> Parser | None:
        return self.parsers.get(rule) if isinstance(self.parsers, Mapping) else self.parsers

    def known_gold(self, item: Item) -> str:
        """The item's right answer if it is a label; "" where it is content of the benchmark."""
        return item.gold if self.gold_is_label(item.extra) else ""

    def options_of(self, item: Item) -> Sequence[str]:
        """The answers this item asks to choose from; none where it asks for free text."""
        return self.options(item) if callable(self.options) else self.options

    def items(self, rows: Iterable[Row]) -> list[Item]:
        """Items of a benchmark file's rows, numbered among those that are this task's; facet values
        are strings, in the order of `facets`."""
        items, first = [], {}
        for number, row in enumerate(filter(self.select, rows)):
            gold = str(_value(self.gold, row, number)) if self.gold else ""
            facets = tuple(str(_value(f, row, number)) for f in self.facets.values())
            pair = _value(self.pair, row, number) if self.pair else None
            if not isinstance(pair, int):
                pair = -1 if pair is None else first.setdefault(pair, number)
            items.append(Item(self.id, number, row["prompt"], gold, facets, pair, row))
        return items


def _value(feature: str | Feature, row: Row, number: int) -> Any:
    return feature(row, number) if callable(feature) else row[feature]


def made_by_toolkit(file: str, key: Sequence[str] = ("prompt",)) -> RecordFormat:
    """Where the released package stores its answers to a benchmark file."""
    return RecordFormat(f"generation_results/{{model}}/{file}.json", "toolkit", key=key)


def per_rule(authors: Any, toolkit: Any = None, corrected: Any = None) -> dict[Rule, Any]:
    """Spell out three rules; `toolkit` and `corrected` default to `authors`."""
    return dict(zip(RULES, (authors, toolkit or authors, corrected or authors), strict=True))
