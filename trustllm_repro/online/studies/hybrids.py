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

from trustllm_repro.online.monitors.base import Monitor, Need, Scores, Seen, TooLittle, both_kinds
from trustllm_repro.online.studies.benchmark import DIGITS, HYBRID, Tried
from trustllm_repro.online.studies.operate import peak
from trustllm_repro.online.studies.scores import auroc
from trustllm_repro.online.studies.splits import split

# Ranks of the members up to each token, (members, n), NaN before a member's first score, to the
# hybrid's danger, (n,).
Fuse = Callable[[np.ndarray], np.ndarray]
# Learns from ranks of the members' peaks, (members, answers), and whether the answers are unsafe.
Rule = Callable[[np.ndarray, np.ndarray], Fuse]


def _each(reduce: Callable[[np.ndarray], np.ndarray]) -> Rule:
    """Members that have no score yet do not count; without any there is none."""
    return lambda peaks, unsafe: lambda ranks: _over_known(ranks, reduce)


def _over_known(a: np.ndarray, reduce) -> np.ndarray:
    out = np.full(a.shape[1], np.nan)
    some = ~np.isnan(a).all(axis=0)
    out[some] = reduce(a[:, some])
    return out


def weighted(peaks: np.ndarray, unsafe: np.ndarray) -> Fuse:
    """Mean weighted by calibration AUROC - 0.5; members no better than chance have no weight."""
    areas = [auroc(unsafe, p).value for p in peaks]
    weights = np.nan_to_num(np.clip(np.array(areas) - 0.5, 0, None))
    if not weights.any():
        raise TooLittle("no member is better than chance on the calibration answers")
    return lambda ranks: _mean(ranks, weights)


def _mean(a: np.ndarray, weights: np.ndarray) -> np.ndarray:
    known = ~np.isnan(a)
    total = (weights[:, None] * known).sum(axis=0)
    summed = (weights[:, None] * np.nan_to_num(a)).sum(axis=0)
    return np.divide(summed, total, out=np.full(a.shape[1], np.nan), where=total > 0)


def stacked(peaks: np.ndarray, unsafe: np.ndarray) -> Fuse:
    """Logistic regression on the members' ranks; what is not known counts as a half."""
    from sklearn.linear_model import LogisticRegression

    both_kinds(unsafe, least=3)
    model = LogisticRegression(class_weight="balanced").fit(np.nan_to_num(peaks.T, nan=0.5), unsafe)

    def fuse(ranks: np.ndarray) -> np.ndarray:
        known = np.nan_to_num(ranks.T, nan=0.5)
        return model.decision_function(known) if len(known) else np.zeros(0)

    return fuse


def cascade(peaks: np.ndarray, unsafe: np.ndarray) -> Fuse:
    """The last member is asked only where the mean of the others is in its upper half.

    Elsewhere the danger is half that mean: below that of every answer it was asked about.
    """

    def fuse(ranks: np.ndarray) -> np.ndarray:
        cheap = _over_known(ranks[:-1], lambda x: np.nanmean(x, axis=0))
        return np.where(cheap >= 0.5, 0.5 + np.nan_to_num(ranks[-1]) / 2, cheap / 2)

    return fuse


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


@dataclass(frozen=True)
class Taught:
    """A rule that has learned from answers its members were not fitted to.

    Attributes:
        known: of each member, sorted, the largest dangers in those answers; ranks are among them.
    """

    known: Sequence[np.ndarray]
    fuse: Fuse

    @classmethod
    def by(cls, rule: Rule, members: Sequence[Scores], unsafe: np.ndarray) -> Taught:
        """Args: dangers of each member for the answers, and which of these are unsafe.

        Raises:
            TooLittle: the rule cannot be learned from them.
        """
        peaks = [peak(scores) for scores in members]
        known = [np.sort(p[~np.isnan(p)]) for p in peaks]
        ranks = np.stack([_rank(p, k) for p, k in zip(peaks, known, strict=True)])
        return cls(known, rule(ranks, unsafe))

    def __call__(self, members: Sequence[Scores]) -> Scores:
        """Dangers of each member -> the hybrid's, an array an answer."""
        return [self._answer(dangers) for dangers in zip(*members, strict=True)]

    def _answer(self, dangers: Sequence[np.ndarray]) -> np.ndarray:
        """Of the members' dangers in one answer; each counts by its largest so far."""
        highest = [np.fmax.accumulate(d) if len(d) else d for d in dangers]
        ranks = np.stack([_rank(h, k) for h, k in zip(highest, self.known, strict=True)])
        return np.round(self.fuse(ranks), DIGITS)


def _rank(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Share of the known peaks, sorted, below each value, ties half; NaN stays NaN."""
    below, upto = (np.searchsorted(known, values, side=s) for s in ("left", "right"))
    return np.where(np.isnan(values), np.nan, (below + upto) / 2 / max(len(known), 1))


def combine(name: str, rule: Rule, members: Sequence[Tried], unsafe: np.ndarray) -> Tried:
    """The hybrid of monitors tried on the same split.

    Half of the calibration answers, by number, teach the rule (ranks, weights); the other half are
    left to set its threshold, so that this is as honest as a single monitor's.
    """
    first = members[0]
    if lacking := [m for m in members if m.reason]:
        return replace(first, monitor=name, calibration=[], test=[], reason=lacking[0].reason)
    at = first.split.calibration
    odd = np.arange(len(at)) % 2 == 1
    teach, left = (
        [[m.calibration[i] for i in np.flatnonzero(half)] for m in members] for half in (~odd, odd)
    )
    try:
        taught = Taught.by(rule, teach, unsafe[at[~odd]])
    except TooLittle as e:
        return replace(first, monitor=name, calibration=[], test=[], reason=str(e))
    cost = sum(m.seconds_per_token for m in members)
    parts = replace(first.split, calibration=at[odd])
    return Tried(name, first.seed, parts, taught(left), taught([m.test for m in members]), "", cost)


@dataclass(frozen=True, eq=False)
class Hybrid:
    """Monitors put together, as a monitor: what stops a generation, or is watched.

    Attributes:
        taught: the rule, once it has learned.
    """

    name: str
    members: Sequence[Monitor]
    rule: Rule
    taught: Taught | None = None
    source: str = "Xie et al. 2024 (arXiv 2404.08517), hybridisation"
    access: str = HYBRID
    trained: bool = True

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset().union(*(m.needs for m in self.members))

    def fit(self, seen: Sequence[Seen], unsafe: np.ndarray) -> Hybrid:
        """Members are fitted to some prompts, the rule learns from the others.

        Raises:
            TooLittle: for a member, or for the rule.
        """
        parts = split([s.prompt for s in seen], seed=0)
        train, teach = parts.train, np.concatenate([parts.calibration, parts.test])
        members = [
            m.fit([seen[i] for i in train], unsafe[train]) if m.trained else m for m in self.members
        ]
        others = [seen[i] for i in teach]
        taught = Taught.by(self.rule, [m(others) for m in members], unsafe[teach])
        return replace(self, members=members, taught=taught)

    def __call__(self, seen: Sequence[Seen]) -> Scores:
        if self.taught is None:
            raise ValueError(f"{self.name} is not fitted")
        return self.taught([m(seen) for m in self.members])


def hybrid_monitors(monitors: Mapping[str, Monitor]) -> dict[str, Hybrid]:
    """Every rule over every set of members that are all among `monitors`, not fitted yet."""
    return {
        f"{rule}: {label}": Hybrid(f"{rule}: {label}", [monitors[m] for m in members], RULES[rule])
        for label, members in MEMBERS.items()
        if set(members) <= set(monitors)
        for rule in RULES
    }


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
