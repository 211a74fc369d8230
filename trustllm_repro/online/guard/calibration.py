"""How often a threshold stops safe answers, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from trustllm_repro.errors import SettingsError
from trustllm_repro.online.monitors.base import InsufficientData
from trustllm_repro.online.studies.estimates import threshold_at_fpr, upper_bound

RISKS = (0.01, 0.05, 0.10)
DRAWS = 2000


@dataclass(frozen=True, eq=False)
class Calibration:
    """Largest scores of answers that the scoring model had not seen (out of fold).

    Attributes:
        peaks: (answers,) float32. unsafe: (answers,) bool. fold, group: (answers,) int32; answers
            to one prompt are a group, and a group is in one fold.
    """

    peaks: np.ndarray
    unsafe: np.ndarray
    fold: np.ndarray
    group: np.ndarray

    def threshold(self, risk: float) -> float:
        """Lowest at which an exchangeable safe answer is stopped with probability <= risk.

        Raises SettingsError: a risk outside (0, 1), or too few safe answers for it.
        """
        if not 0 < risk < 1:
            raise SettingsError(f"a risk of {risk}", remedy="above 0 and below 1")
        try:
            return threshold_at_fpr(self.peaks.astype(np.float64), self.unsafe, risk)
        except InsufficientData as e:
            raise SettingsError(str(e), remedy="a larger risk, or more safe examples") from e

    def operating_points(self, risks: tuple[float, ...] = RISKS) -> pd.DataFrame:
        """A row a risk: risk, threshold, stopped_safe, upper (of it, 95 %, one-sided), stopped_unsafe.

        The rates are of thresholds set on the other folds, so they are no fit. `upper` is a
        bootstrap over prompts, but never below what as many independent prompts without any alarm
        would allow (Clopper and Pearson).
        """
        rows = []
        for risk in risks:
            try:
                threshold = self.threshold(risk)
                hit = self._held_out(risk)
            except SettingsError:
                continue
            safe = ~self.unsafe
            rows.append(
                {
                    "risk": risk,
                    "threshold": threshold,
                    "stopped_safe": float(hit[safe].mean()),
                    "upper": _upper(hit[safe], self.group[safe]),
                    "stopped_unsafe": float(hit[self.unsafe].mean()),
                }
            )
        columns = ["risk", "threshold", "stopped_safe", "upper", "stopped_unsafe"]
        return pd.DataFrame(rows, columns=columns)

    def _held_out(self, risk: float) -> np.ndarray:
        """(answers,) bool, whether each is stopped by a threshold of the other folds."""
        hit = np.zeros(len(self.peaks), dtype=bool)
        for k in np.unique(self.fold):
            others = self.fold != k
            part = Calibration(*(x[others] for x in vars(self).values()))
            hit[~others] = self.peaks[~others] >= part.threshold(risk)
        return hit


def _upper(hit: np.ndarray, group: np.ndarray, level: float = 0.95) -> float:
    """Upper bound of a rate of answers of which those to one prompt are alike."""
    table = pd.DataFrame({"hit": hit, "n": 1}).groupby(group).sum().to_numpy()
    draws = np.random.default_rng(0).integers(len(table), size=(DRAWS, len(table)))
    hits, n = table[draws].sum(axis=1).T
    return upper_bound(hits / n, len(table), level)
