"""The nouns of the package. Data only moves downwards through this file: items and responses
become verdicts, verdicts become scores."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self


class Rule(StrEnum):
    """How an answer is read and counted: "authors", "toolkit" or "corrected"; any function here that
    takes a rule takes its word as well."""

    AUTHORS = "authors"  # the script that produced the published sheet
    TOOLKIT = "toolkit"  # the official functions at the commit the README names
    CORRECTED = "corrected"  # what the paper's text describes, with the defect fixed


RULES = tuple(Rule)
# No fourth rule: marks the authors' reading of labels that our judge gave where none was recorded.
OUR_JUDGE = "our judge"
# Of every interval: its level, and the draws of a bootstrap.
CONFIDENCE = 0.95
RESAMPLES = 999


class Status(StrEnum):
    """What became of one answer. Only `parsed` carries a label or a number."""

    PARSED = "parsed"
    UNPARSED = "unparsed"  # there is an answer, the rule cannot read it
    DROPPED = "dropped"  # readable, but left out by the rule (e.g. a zero treated as "no value")
    EMPTY = "empty"  # an empty string that the rule leaves out
    NULL = "null"  # the record holds null: the model call failed
    UNLABELLED = "unlabelled"  # needs a judge label that was never recorded
    STOPPED = "stopped"  # the rule's own function ends with an error here, so it gives no value


@dataclass(frozen=True, slots=True)
class Item:
    """One question of the benchmark. `number` counts from 0 in the order of the official file."""

    task: str
    number: int
    prompt: str
    gold: str = ""
    facets: tuple[str, ...] = ()  # values of the task's declared facets, e.g. ("QBB", "leetspeak")
    pair: int = -1  # items that belong together share it (original and perturbed)
    extra: Mapping[str, Any] = field(default_factory=dict)  # what a parser needs besides


@dataclass(frozen=True, slots=True)
class Response:
    """What one model said to one item. `prompt` is the text the model really saw."""

    task: str
    model: str
    number: int
    text: str | None
    prompt: str = ""
    judge: str | None = None  # "refusal" or "answer", as the recorded classifier said
    number_recorded: float | None = None  # similarity or toxicity stored beside the answer
    record_format: str = ""  # name of the record format, see tasks.base.RecordFormat
    revision: str = "published"  # which of several recorded answers to the same item
    source: str = ""  # path of the file it came from
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge or parser read in one response: a label or a number, never text."""

    status: Status
    label: str | None = None
    number: float | None = None

    @classmethod
    def of(cls, label: str | None = None, number: float | None = None) -> Self:
        return cls(Status.PARSED, label, number)


UNPARSED = Verdict(Status.UNPARSED)
DROPPED = Verdict(Status.DROPPED)
EMPTY = Verdict(Status.EMPTY)
NULL = Verdict(Status.NULL)
UNLABELLED = Verdict(Status.UNLABELLED)
STOPPED = Verdict(Status.STOPPED)


@dataclass(frozen=True, slots=True)
class Score:
    """A metric over verdicts. An absent value is NaN with a reason, never 0.

    `bound_low` and `bound_high` are the values if every answer without a verdict counted against,
    or for, the metric. `judge_corrected` is the value corrected for the measured errors of the
    judge; its interval, `judge_corrected_low` to `judge_corrected_high`, holds their uncertainty
    too. It is NaN where labels are those of the paper's judge, or where our judge's errors on the
    task are not known.
    """

    value: float
    n: int = 0  # answers the value rests on
    n_unparsed: int = 0  # no verdict: unparsed, dropped, empty, unlabelled or stopped
    n_missing: int = 0  # null answers and items without an answer
    ci_low: float = math.nan
    ci_high: float = math.nan
    reason: str = ""
    bound_low: float = math.nan
    bound_high: float = math.nan
    judge_corrected: float = math.nan
    judge_corrected_low: float = math.nan
    judge_corrected_high: float = math.nan

    @property
    def known(self) -> bool:
        return not math.isnan(self.value)
