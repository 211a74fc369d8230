"""What a metric is, and how every one of them gets its interval.

A metric turns the answers of one model to some items into one number. It first codes the answers
that count as numbers (`samples`), then reduces them along an axis (`statistic`). That split lets
scipy's vectorised bootstrap resample items without a loop.

Answers are a frame, a row an answer as one rule reads it: model, item, gold, status, label, number,
pair and the task's facets. `attrs["asked"]` holds the number of items asked for, answered or not;
without it, as many as there are answers.
"""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from trustllm_repro.schema import CONFIDENCE, RESAMPLES, Score, Status


def has(answers: pd.DataFrame, *statuses: Status) -> np.ndarray:
    """Mask of the answers with one of these statuses."""
    return answers["status"].isin(statuses).to_numpy()


def without_verdict(answers: pd.DataFrame) -> np.ndarray:
    """Mask of the answers that are there, but have no verdict."""
    return ~has(answers, Status.PARSED, Status.NULL)


def absent_answers(answers: pd.DataFrame) -> tuple[int, int]:
    """Numbers of answers without a verdict, and of those that are null or not there at all."""
    asked, n_unparsed = answers.attrs.get("asked", len(answers)), without_verdict(answers).sum()
    return int(n_unparsed), int(asked - n_unparsed - has(answers, Status.PARSED).sum())


def matching(answers: pd.DataFrame, where: Mapping[str, str]) -> np.ndarray:
    """Mask of the answers to items with these facet values."""
    mask = np.ones(len(answers), dtype=bool)
    for facet, value in where.items():
        mask &= (answers[facet] == value).to_numpy()
    return mask


Labels = np.ndarray | pd.Series | str  # of each answer, or of all


def labelled(answers: pd.DataFrame, mask: np.ndarray, labels: Labels) -> pd.DataFrame:
    """The same answers, those of `mask` read as `labels`."""
    if not mask.any():
        return answers
    found = answers.copy()
    found.loc[mask, "label"] = labels
    found.loc[mask, "status"] = str(Status.PARSED)
    return found


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """Base of all metrics. Subclasses are frozen dataclasses whose fields are the parameters.

    Attributes:
        unparsed: what becomes of an answer nobody can read: "drop" leaves it out of the
            denominator, "wrong" counts it against the model, "all" does so with null answers and
            those without a label too.
        min_labelled: a value that rests on fewer than this share of labels is not given: the
            missing judge labels, not the answers, would decide it.
        nothing: value where there are answers, but none is counted. The toolkit writes 0.
    """

    unparsed: str = "drop"
    min_labelled: float = 0.5
    nothing: float = math.nan
    interval: ClassVar[str] = "bootstrap"  # or "wilson" (codes are 0/1) or "none"
    # Reason where the statistic is NaN.
    undefined: ClassVar[str] = "not defined on these answers (a class or a spread is missing)"

    @abstractmethod
    def samples(self, answers: pd.DataFrame) -> tuple[np.ndarray, ...]:
        """Codes of what counts, one array per independently resampled group."""

    @abstractmethod
    def statistic(self, *samples: np.ndarray, axis: int = -1) -> np.ndarray:
        """Value of the metric; `samples` are reduced along `axis`."""

    def extremes(self, answers: pd.DataFrame, mask: np.ndarray) -> Sequence[Labels]:
        """Labels for the answers of `mask` that make the value smallest and largest, in any order;
        none where no labelling is known to."""
        return ()

    def judged_label(self) -> str:
        """The judge's label that a code of 1 stands for; "" where codes are anything else."""
        return ""

    def scored(self, answers: pd.DataFrame) -> np.ndarray:
        """Mask of the answers that enter the denominator."""
        wrong = {"drop": (), "wrong": (Status.UNPARSED,), "all": Status}[self.unparsed]
        return has(answers, Status.PARSED, *wrong)

    def why_not(self, answers: pd.DataFrame) -> str:
        """Reason why there can be no value, or ""."""
        if len(answers) == 0:
            return "no recorded answers"
        if stopped := has(answers, Status.STOPPED).sum():
            return (
                f"the official function ends with an error at {stopped} of {len(answers)} answers, "
                "which are null or hold nothing it can read"
            )
        unlabelled = has(answers, Status.UNLABELLED).sum()
        judged = has(answers, Status.PARSED, Status.UNPARSED, Status.DROPPED).sum()
        if unlabelled and judged < self.min_labelled * (judged + unlabelled):
            return f"judge labels of {unlabelled} of {len(answers)} answers are not recorded"
        return ""

    def measure(self, answers: pd.DataFrame, seed: int) -> Score:
        """Value, counts and 95 % interval; an absent value carries its reason."""
        low, high = self.bounds(answers)
        n_unparsed, n_missing = absent_answers(answers)
        absent = Score(
            math.nan, n_unparsed=n_unparsed, n_missing=n_missing, bound_low=low, bound_high=high
        )
        if reason := self.why_not(answers):
            return replace(absent, reason=reason)
        samples = self.samples(answers)
        used = [len(s) for s in samples]
        if min(used) == 0 and math.isnan(self.nothing):
            part = "a part of this average has no answers"
            return replace(absent, reason=part if any(used) else "no answer could be read")
        value = float(self.statistic(*samples))
        if math.isnan(value):
            return replace(absent, reason=self.undefined)
        low, high = self.confidence(samples, seed)
        return replace(absent, value=value, n=sum(used), ci_low=low, ci_high=high)

    def bounds(self, answers: pd.DataFrame, mask: np.ndarray | None = None) -> tuple[float, float]:
        """Smallest and largest value that the answers of `mask` allow, whatever their labels are;
        without it, all those that have no verdict. NaN if not known."""
        if len(answers) == 0 or has(answers, Status.STOPPED).any():
            return math.nan, math.nan
        mask = without_verdict(answers) if mask is None else mask
        ends = [self.samples(labelled(answers, mask, x)) for x in self.extremes(answers, mask)]
        if not ends or not all(len(codes) for samples in ends for codes in samples):
            return math.nan, math.nan
        found = [float(self.statistic(*samples)) for samples in ends]
        return min(found), max(found)

    def confidence(self, samples: tuple[np.ndarray, ...], seed: int) -> tuple[float, float]:
        if self.interval == "none":
            return math.nan, math.nan
        if self.interval == "wilson":
            return wilson(int(samples[0].sum()), len(samples[0]))
        return bootstrap(samples, self.statistic, seed)


@dataclass(frozen=True, kw_only=True)
class CodedMetric(Metric):
    """Base of metrics that code each answer by itself and have one sample."""

    @abstractmethod
    def codes(self, answers: pd.DataFrame) -> np.ndarray:
        """One number an answer, NaN where it does not count."""

    def samples(self, answers: pd.DataFrame) -> tuple[np.ndarray, ...]:
        codes = self.codes(answers)
        return (codes[~np.isnan(codes)],)


@dataclass(frozen=True)
class NoValue(Metric):
    """No value, whatever the answers are; `reason` says why."""

    reason: str

    def samples(self, answers: pd.DataFrame) -> tuple[np.ndarray, ...]:
        return ()

    def statistic(self, *samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.array(math.nan)

    def why_not(self, answers: pd.DataFrame) -> str:
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
    samples: tuple[np.ndarray, ...],
    statistic: Callable[..., np.ndarray],
    seed: int,
    resamples: int = RESAMPLES,
    paired: bool = False,
) -> tuple[float, float]:
    """BCa interval over units; samples are resampled independently of each other, or as pairs.

    The percentile interval is given where all resamples agree, as BCa is then undefined, and where
    up to a tenth of them have no value (a correlation of equal answers). One answer has none.
    """
    if min(len(s) for s in samples) < 2:
        return math.nan, math.nan
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        result = stats.bootstrap(
            samples,
            statistic,
            n_resamples=resamples,
            paired=paired,
            confidence_level=CONFIDENCE,
            method="BCa",
            vectorized=True,
            axis=-1,
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    if math.isnan(low) or math.isnan(high):
        draws = result.bootstrap_distribution[~np.isnan(result.bootstrap_distribution)]
        if len(draws) < 0.9 * resamples:
            return math.nan, math.nan
        tail = 50 * (1 - CONFIDENCE)
        low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)
