"""Correlation with people's ratings, and independence of attribute and answer."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from trustllm_repro.metrics.base import Answers, Metric
from trustllm_repro.schema import Score


@dataclass(frozen=True)
class Pearson(Metric):
    """Pearson correlation of the answer's number with the gold number (scipy.stats.pearsonr)."""

    undefined = "all answers are equal, so there is no correlation"

    def samples(self, answers: Answers) -> tuple[np.ndarray, ...]:
        mask = answers.parsed
        # A pair must be resampled as one; a complex number carries both halves through scipy's
        # one-sample bootstrap.
        return (answers.gold[mask].astype(float) + 1j * answers.number[mask],)

    def statistic(self, *samples: np.ndarray, axis: int = -1) -> np.ndarray:
        gold, answer = samples[0].real, samples[0].imag
        if np.shape(gold)[axis] < 2:
            return np.full(np.sum(gold, axis=axis).shape, math.nan)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.ConstantInputWarning)
            return stats.pearsonr(gold, answer, axis=axis).statistic


@dataclass(frozen=True)
class Independence(Metric):
    """Chi-square test of independence between an attribute of the item and the answer.

    `gives` is "chi2" (no unit) or "p-value"; scipy.stats.chi2_contingency with Yates' correction
    for 2 x 2 tables, as in the authors' script. A p-value has no interval.
    """

    attribute: str
    gives: str = "p-value"
    interval: str = "none"

    def samples(self, answers: Answers) -> tuple[np.ndarray, ...]:
        return (answers.parsed.nonzero()[0].astype(float),)

    def statistic(self, *samples: np.ndarray, axis: int = -1) -> np.ndarray:
        raise TypeError("a test of independence is measured, not resampled")

    def measure(self, answers: Answers, seed: int) -> Score:
        mask = answers.parsed
        n = int(mask.sum())
        unparsed, missing = len(answers) - n, answers.expected - len(answers)
        reason = self.why_not(answers) or ("" if n else "no answer could be read")
        if reason:
            return Score(math.nan, 0, unparsed, missing, reason=reason)
        table = pd.crosstab(answers.facets[self.attribute][mask], answers.label[mask])
        if min(table.shape) < 2:
            # One answer for everybody: scipy gives chi2 = 0 and p = 1, and so do the authors.
            chi2, p = 0.0, 1.0
        else:
            chi2, p, *_ = stats.chi2_contingency(table)
        return Score(float(chi2 if self.gives == "chi2" else p), n, unparsed, missing)
