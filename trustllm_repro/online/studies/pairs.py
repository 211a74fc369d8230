"""Which monitors differ: paired tests over the same answers, and ranks over tasks and models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from trustllm_repro.metrics.comparisons import benjamini_hochberg
from trustllm_repro.online.studies.benchmark import Tried
from trustllm_repro.online.studies.operate import peak
from trustllm_repro.online.studies.scores import NAN, paired_auroc
from trustllm_repro.online.studies.study import Row, Study


def median_p(p: Sequence[float]) -> float:
    """One p of several over dependent splits: twice their median, at most 1; NaNs are left out.

    Valid whatever the dependence (Meinshausen, Meier and Buehlmann 2009, section 3, for the median).
    """
    known = np.array([x for x in p if not np.isnan(x)])
    return float(min(1.0, 2 * np.median(known))) if len(known) else NAN


def pairs(study: Study) -> list[Row]:
    """Difference in AUROC of every two monitors, mean of the seeds, with p (DeLong) and q.

    q is over all pairs of the task. Monitors that could not be tried, and the trivial ones, whose
    AUROC is a half by construction, are in no pair.
    """
    some = {n: t for n, t in study.tried.items() if study.monitors[n].needs and _tried(t)}
    peaks = {n: [peak(t.test) for t in seeds] for n, seeds in some.items()}
    labels = [study.answered.unsafe[t.split.test] for t in next(iter(some.values()), ())]
    lines = []
    for one, two in combinations(some, 2):
        found = [
            paired_auroc(unsafe, a, b)
            for unsafe, a, b in zip(labels, peaks[one], peaks[two], strict=True)
        ]
        gap = [g for g, _ in found if not np.isnan(g)]
        lines.append(
            {
                "monitor": one, "other": two, "difference": float(np.mean(gap)) if gap else NAN,
                "p": median_p([p for _, p in found]),
            }
        )  # fmt: skip
    for line, q in zip(lines, benjamini_hochberg([x["p"] for x in lines]), strict=True):
        line["q"] = float(q)
    return lines


def _tried(seeds: Sequence[Tried]) -> bool:
    return not any(t.reason for t in seeds)


@dataclass(frozen=True)
class Ranking:
    """Friedman's test and Nemenyi's critical difference (Demsar 2006).

    Attributes:
        ranks: mean rank of every monitor over the cells, 1 the best, best first.
        cells: pairs of model and task ranked.
        p: of Friedman's test that all are alike. critical: mean ranks closer than this are not
            distinguished at 5 %. NaN both where there are fewer than two cells or three monitors.
    """

    ranks: pd.Series
    cells: int
    p: float
    critical: float


def ranking(areas: pd.DataFrame) -> Ranking:
    """Rank monitors over cells.

    Args:
        areas: AUROC; a line a cell, a column a monitor. Monitors without a value in every cell
            are left out, because mean ranks over different cells cannot be compared.
    """
    whole = areas.dropna(axis=1)
    cells, k = whole.shape
    ranks = whole.rank(axis=1, ascending=False).mean().sort_values()
    if cells < 2 or k < 3:
        return Ranking(ranks, cells, NAN, NAN)
    p = float(stats.friedmanchisquare(*whole.to_numpy().T).pvalue)
    q = stats.studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2)
    return Ranking(ranks, cells, p, float(q * np.sqrt(k * (k + 1) / (6 * cells))))
