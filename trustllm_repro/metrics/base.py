"""What a metric is, and how every one of them gets its interval.

A metric turns the verdicts of one model on some items into one number. It first codes each
scored answer as one number (`samples`), then reduces codes along an axis (`statistic`). That
split lets scipy's vectorised bootstrap resample items without a loop.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from scipy import stats

from trustllm_repro.schema import CONFIDENCE, RESAMPLES, Score, Status

_OPEN = (Status.UNPARSED, Status.DROPPED, Status.EMPTY, Status.UNLABELLED, Status.STOPPED)
_ARRAYS = ("status", "label", "number", "gold", "pair", "item")


@dataclass(frozen=True)
class Answers:
    """The verdicts of one model (or of pooled models) on the items of one task, under one rule.

    All arrays have the shape (n_answers,) and are in item order.

    Attributes:
        status, label, gold: strings; label is "" where there is none.
        number: float, NaN where there is none.
        pair, item: integers.
        facets: facet name -> strings.
        expected: number of items asked for, answered or not.
    """

    status: np.ndarray
    label: np.ndarray
    number: np.ndarray
    gold: np.ndarray
    pair: np.ndarray
    item: np.ndarray
    facets: Mapping[str, np.ndarray] = field(default_factory=dict)
    expected: int = 0

    def __len__(self) -> int:
        return len(self.status)

    @classmethod
    def pooled(cls, parts: Sequence[Answers]) -> Answers:
        """Answers of several models to the same task as one."""
        return cls(
            *(np.concatenate([getattr(p, n) for p in parts]) for n in _ARRAYS),
            facets={k: np.concatenate([p.facets[k] for p in parts]) for k in parts[0].facets},
            expected=sum(p.expected for p in parts),
        )

    def take(self, mask: np.ndarray, expected: int | None = None) -> Answers:
        return Answers(
            *(getattr(self, n)[mask] for n in _ARRAYS),
            facets={k: v[mask] for k, v in self.facets.items()},
            expected=int(mask.sum()) if expected is None else expected,
        )

    @property
    def parsed(self) -> np.ndarray:
        return self.status == Status.PARSED

    @property
    def open(self) -> np.ndarray:
        """Mask of the answers that are there, but have no verdict."""
        return self.has(*_OPEN)

    def has(self, *statuses: Status) -> np.ndarray:
        """Mask of the answers with one of these."""
        return np.isin(self.status, [str(s) for s in statuses])

    def labelled(self, mask: np.ndarray, labels: np.ndarray | str) -> Answers:
        """The same answers, those of `mask` read as `labels`."""
        if not mask.any():
            return self
        label = self.label.astype(object)
        label[mask] = labels
        status = np.where(mask, str(Status.PARSED), self.status)
        return replace(self, status=status, label=label.astype(str))

    def count(self, *statuses: Status) -> int:
        return int(self.has(*statuses).sum())


class Metric(ABC):
    """Base of all metrics. Subclasses are frozen dataclasses whose fields are the parameters.

    `unparsed` says what becomes of an answer nobody can read: "drop" leaves it out of the
    denominator, "wrong" counts it against the model, "all" does so with null answers too.
    """

    unparsed: str = "drop"
    interval: str = "bootstrap"  # or "wilson" (codes are 0/1) or "none"
    # A value that rests on fewer than this share of labels is not given: the missing judge
    # labels, not the answers, would decide it.
    min_labelled: float = 0.5
    # Value where there are answers, but none is counted. Functions of the toolkit write 0.
    nothing: float = math.nan
    # Reason where the statistic is NaN.
    undefined: ClassVar[str] = "not defined on these answers (a class or a spread is missing)"

    def resolved(self, answers: Answers, hit: bool) -> Answers | None:
        """The answers, had all without a verdict been hits, or none; None where neither is meant.

        For metrics in which a hit raises the value; others pick their own two extremes.
        """
        return None

    def judged_label(self) -> str:
        """The judge's label that a code of 1 stands for; "" where codes are anything else."""
        return ""

    @abstractmethod
    def samples(self, answers: Answers) -> tuple[np.ndarray, ...]:
        """Codes of the scored answers, one array per independently resampled group."""

    @abstractmethod
    def statistic(self, *samples: np.ndarray, axis: int = -1) -> np.ndarray:
        """Value of the metric; `samples` are reduced along `axis`."""

    def scored(self, answers: Answers) -> np.ndarray:
        """Mask of the answers that enter the denominator."""
        counted = {
            "drop": [Status.PARSED],
            "wrong": [Status.PARSED, Status.UNPARSED],
            "all": [Status.PARSED, Status.UNPARSED, Status.NULL],
        }
        return answers.has(*counted[self.unparsed])

    def why_not(self, answers: Answers) -> str:
        """Reason why there can be no value, or ""."""
        if len(answers) == 0:
            return "no recorded answers"
        if stopped := answers.count(Status.STOPPED):
            return (
                f"the official function ends with an error at {stopped} of {len(answers)} answers, "
                "which are null or hold nothing it can read"
            )
        unlabelled = answers.count(Status.UNLABELLED)
        labelled = answers.count(Status.PARSED, Status.UNPARSED, Status.DROPPED)
        if unlabelled and labelled < self.min_labelled * (labelled + unlabelled):
            return f"judge labels of {unlabelled} of {len(answers)} answers are not recorded"
        return ""

    def measure(self, answers: Answers, seed: int) -> Score:
        """Value, counts and 95 % interval; an absent value carries its reason."""
        samples = self.samples(answers) if len(answers) else (np.array([]),)
        bounded = bool(len(answers)) and not answers.count(Status.STOPPED)
        low, high = self.bounds(answers) if bounded else (math.nan, math.nan)
        absent = Score(
            math.nan,
            n_unparsed=int(answers.open.sum()),
            n_missing=answers.expected - len(answers) + answers.count(Status.NULL),
            bound_low=low,
            bound_high=high,
        )
        used = [len(s) for s in samples]
        if reason := self.why_not(answers):
            return replace(absent, reason=reason)
        if min(used) == 0 and math.isnan(self.nothing):
            part = "a part of this average has no answers"
            return replace(absent, reason=part if any(used) else "no answer could be read")
        value = float(self.statistic(*samples))
        if math.isnan(value):
            return replace(absent, reason=self.undefined)
        low, high = self.confidence(samples, seed)
        return replace(absent, value=value, n=sum(used), ci_low=low, ci_high=high)

    def bounds(self, answers: Answers) -> tuple[float, float]:
        """Smallest and largest value that answers without a verdict allow; NaN if not known."""
        found = []
        for hit in (False, True):
            resolved = self.resolved(answers, hit)
            samples = () if resolved is None else self.samples(resolved)
            if not samples or not all(map(len, samples)):
                return math.nan, math.nan
            found.append(float(self.statistic(*samples)))
        return min(found), max(found)

    def confidence(self, samples: tuple[np.ndarray, ...], seed: int) -> tuple[float, float]:
        if self.interval == "none":
            return math.nan, math.nan
        if self.interval == "wilson":
            return wilson(int(samples[0].sum()), len(samples[0]))
        return bootstrap(samples, self.statistic, seed)


@dataclass(frozen=True)
class NoValue(Metric):
    """No value, whatever the answers are; `reason` says why."""

    reason: str

    def samples(self, answers: Answers) -> tuple[np.ndarray, ...]:
        return (np.array([]),)

    def statistic(self, *samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.array(math.nan)

    def why_not(self, answers: Answers) -> str:
        return self.reason


def mean(codes: np.ndarray, axis: int, nothing: float = math.nan) -> np.ndarray:
    """Mean along an axis; `nothing` where there is nothing to take the mean of."""
    if np.shape(codes)[axis] == 0:
        return np.full(np.sum(codes, axis=axis).shape, nothing)
    return np.mean(codes, axis=axis)


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson score interval of k successes in n (scipy.stats.binomtest)."""
    if n == 0:
        return math.nan, math.nan
    ci = stats.binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(ci.low), float(ci.high)


def bootstrap(
    samples: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], seed: int
) -> tuple[float, float]:
    """BCa interval over items; strata are resampled independently of each other.

    Where all resamples agree, BCa is undefined and the percentile interval (a point) is given; so
    it is where up to a tenth of the resamples have no value, such as the correlation of answers
    that happen to be equal. Samples of one answer have no interval.
    """
    if min(len(s) for s in samples) < 2:
        return math.nan, math.nan
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        result = stats.bootstrap(
            samples,
            statistic,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="BCa",
            vectorized=True,
            axis=-1,
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    if math.isnan(low) or math.isnan(high):
        draws = result.bootstrap_distribution[~np.isnan(result.bootstrap_distribution)]
        if len(draws) < 0.9 * RESAMPLES:
            return math.nan, math.nan
        tail = 50 * (1 - CONFIDENCE)
        low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)
