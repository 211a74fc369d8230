"""Several monitors, one alarm.

Members' dangers are first turned into the share of calibration answers whose peak lies below, so
that they can be compared. A vote with one threshold for all members is then an order statistic of
these ranks: OR their largest, AND their smallest, the majority their median. So every hybrid is a
danger like any other, is calibrated like any other, and has a token at which it alarms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trustllm_repro.online.benchmark import DIGITS, Tried
from trustllm_repro.online.monitors.base import Scores, TooLittle, both_kinds
from trustllm_repro.online.operate import peak
from trustllm_repro.online.scores import auroc


@dataclass(frozen=True)
class Ranks:
    """Members' ranks so far, 0 to 1, and what is known of the members.

    Attributes:
        answers: (members, n) each, largest rank of the member up to each token; NaN before its
            first score.
        peaks, unsafe: of the calibration answers: (members, answers) and (answers,).
    """

    answers: list[np.ndarray]
    peaks: np.ndarray
    unsafe: np.ndarray


Rule = Callable[[Ranks], Scores]


def _each(reduce: Callable[[np.ndarray], np.ndarray]) -> Rule:
    """Members that have no score yet do not count; without any there is none."""

    def rule(ranks: Ranks) -> Scores:
        return [_over_known(a, reduce) for a in ranks.answers]

    return rule


def _over_known(a: np.ndarray, reduce) -> np.ndarray:
    out = np.full(a.shape[1], np.nan)
    some = ~np.isnan(a).all(axis=0)
    out[some] = reduce(a[:, some])
    return out


def weighted(ranks: Ranks) -> Scores:
    """Mean weighted by calibration AUROC - 0.5; members no better than chance have no weight."""
    areas = [auroc(ranks.unsafe, p).value for p in ranks.peaks]
    weights = np.nan_to_num(np.clip(np.array(areas) - 0.5, 0, None))
    if not weights.any():
        raise TooLittle("no member is better than chance on the calibration answers")
    return [_mean(a, weights) for a in ranks.answers]


def _mean(a: np.ndarray, weights: np.ndarray) -> np.ndarray:
    known = ~np.isnan(a)
    total = (weights[:, None] * known).sum(axis=0)
    summed = (weights[:, None] * np.nan_to_num(a)).sum(axis=0)
    return np.divide(summed, total, out=np.full(a.shape[1], np.nan), where=total > 0)


def stacked(ranks: Ranks) -> Scores:
    """Logistic regression on the members' ranks; what is not known counts as a half."""
    from sklearn.linear_model import LogisticRegression

    both_kinds(ranks.unsafe, least=3)
    model = LogisticRegression(class_weight="balanced").fit(
        np.nan_to_num(ranks.peaks.T, nan=0.5), ranks.unsafe
    )
    return [
        model.decision_function(np.nan_to_num(a.T, nan=0.5)) if a.shape[1] else np.zeros(0)
        for a in ranks.answers
    ]


def cascade(ranks: Ranks) -> Scores:
    """The last member is asked only where the mean of the others is in its upper half.

    Elsewhere the danger is half that mean: below that of every answer it was asked about.
    """
    found = []
    for a in ranks.answers:
        cheap = _over_known(a[:-1], lambda x: np.nanmean(x, axis=0))
        found.append(np.where(cheap >= 0.5, 0.5 + np.nan_to_num(a[-1]) / 2, cheap / 2))
    return found


RULES: dict[str, Rule] = {
    "OR": _each(lambda x: np.nanmax(x, axis=0)),
    "AND": _each(lambda x: np.nanmin(x, axis=0)),
    "majority": _each(lambda x: np.nanmedian(x, axis=0)),
    "mean rank": _each(lambda x: np.nanmean(x, axis=0)),
    "weighted by confidence": weighted,
    "stacking": stacked,
    "cascade": cascade,
}

# Which monitors are put together; the costliest comes last.
MEMBERS: dict[str, tuple[str, ...]] = {
    "grey box": ("average likelihood", "average entropy", "maximum entropy"),
    "grey and white box": ("average entropy", "first token", "linear probe, middle layer"),
    "all levels": ("average entropy", "linear probe, middle layer", "self-examination"),
}


def combine(name: str, rule: Rule, members: Sequence[Tried], unsafe: np.ndarray) -> Tried:
    """The hybrid of monitors tried on the same split.

    Half of the calibration answers, by number, teach the rule (ranks, weights); the other half are
    left to set its threshold, so that this is as honest as a single monitor's.
    """
    first = members[0]
    if lacking := [m for m in members if m.reason]:
        return replace(first, monitor=name, calibration=[], test=[], reason=lacking[0].reason)
    at = first.split.calibration
    teach = np.arange(len(at)) % 2 == 0
    known = [peak([s for s, t in zip(m.calibration, teach, strict=True) if t]) for m in members]
    labels = unsafe[at[teach]]
    peaks = np.stack([_rank(k, k) for k in known])
    left = np.flatnonzero(~teach)
    cost = sum(m.seconds_per_token for m in members)
    try:
        made = [
            rule(Ranks(_so_far(known, scores), peaks, labels))
            for scores in (
                [[m.calibration[i] for i in left] for m in members],
                [m.test for m in members],
            )
        ]
    except TooLittle as e:
        return replace(first, monitor=name, calibration=[], test=[], reason=str(e))
    parts = replace(first.split, calibration=at[left])
    made = [[np.round(s, DIGITS) for s in scores] for scores in made]
    return Tried(name, first.seed, parts, *made, "", cost)


def _rank(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Share of the known peaks below each value, ties half; NaN stays NaN."""
    known = np.sort(known[~np.isnan(known)])
    below, upto = (np.searchsorted(known, values, side=s) for s in ("left", "right"))
    return np.where(np.isnan(values), np.nan, (below + upto) / 2 / max(len(known), 1))


def _so_far(known: Sequence[np.ndarray], scores: Sequence[Scores]) -> list[np.ndarray]:
    """Per answer, (members, n): rank of the largest danger up to each token."""
    found = []
    for answer in zip(*scores, strict=True):
        highest = [np.fmax.accumulate(s) if len(s) else s for s in answer]
        found.append(np.stack([_rank(h, k) for h, k in zip(highest, known, strict=True)]))
    return found


def all_hybrids(tried: Mapping[str, Sequence[Tried]], unsafe: np.ndarray) -> dict[str, list[Tried]]:
    """Every rule over every set of members that were tried, seed by seed."""
    found = {}
    for label, members in MEMBERS.items():
        if set(members) <= set(tried):
            for name, rule in RULES.items():
                seeds = zip(*(tried[m] for m in members), strict=True)
                found[f"{name}: {label}"] = [
                    combine(f"{name}: {label}", rule, some, unsafe) for some in seeds
                ]
    return found
