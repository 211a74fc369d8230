"""Monitors compared: fitted, calibrated and tested on disjoint prompts, over several seeds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from trustllm_repro.online.monitors.base import Monitor, Scores, Seen, TooLittle
from trustllm_repro.online.studies.operate import POINTS, first_alarm, peak
from trustllm_repro.online.studies.scores import NAN, Alarms, auprc, auroc
from trustllm_repro.online.studies.splits import Split, split
from trustllm_repro.schema import Score

SEEDS = (0, 1, 2, 3, 4)
# Digits of a danger that count. Its last bits depend on how many threads summed it, and two answers
# that tie but for them would change places from run to run.
DIGITS = 6
HYBRID = "hybrid"


@dataclass(frozen=True)
class Answered:
    """Labelled answers of one model to one task.

    Attributes:
        unsafe: (answers,) bool, by the task's judge. groups: their prompts.
    """

    model: str
    task: str
    seen: Sequence[Seen]
    unsafe: np.ndarray
    groups: Sequence[str]

    def __len__(self) -> int:
        return len(self.seen)


@dataclass(frozen=True)
class Tried:
    """One monitor on one split.

    Attributes:
        calibration, test: danger after each token of each answer; empty where it was not fitted.
        reason: why there are no scores, or "".
        seconds_per_token: of scoring the test answers; what they were recorded with not included.
    """

    monitor: str
    seed: int
    split: Split
    calibration: Scores = field(default_factory=list)
    test: Scores = field(default_factory=list)
    reason: str = ""
    seconds_per_token: float = NAN


def attempt(monitor: Monitor, answered: Answered, seed: int, why_not: str = "") -> Tried:
    """Fit on the training answers, score those of calibration and test.

    Args:
        why_not: why the monitor cannot run on these answers; then it is not tried.
    """
    parts = split(answered.groups, seed)
    if why_not:
        return Tried(monitor.name, seed, parts, reason=why_not)
    chosen = [[answered.seen[i] for i in at] for at in (parts.train, parts.calibration, parts.test)]
    try:
        with threadpool_limits(1):  # small sums: a second thread costs more than it gains
            trained = monitor.trained
            fitted = monitor.fit(chosen[0], answered.unsafe[parts.train]) if trained else monitor
            calibration, _ = _timed(fitted, chosen[1])
            test, seconds = _timed(fitted, chosen[2])
    except TooLittle as e:
        return Tried(monitor.name, seed, parts, reason=str(e))
    return Tried(monitor.name, seed, parts, calibration, test, "", seconds)


def attempts(
    monitor: Monitor, answered: Answered, seeds: Sequence[int], why_not: str = ""
) -> list[Tried]:
    """One a seed, as `attempt`; what learns nothing reads each answer once for all seeds."""
    if monitor.trained or why_not:
        return [attempt(monitor, answered, s, why_not) for s in seeds]
    parts = {s: split(answered.groups, s) for s in seeds}
    try:
        with threadpool_limits(1):
            scores, seconds = _timed(monitor, answered.seen)
    except TooLittle as e:
        return [Tried(monitor.name, s, p, reason=str(e)) for s, p in parts.items()]
    return [
        Tried(monitor.name, s, p, [scores[i] for i in p.calibration], [scores[i] for i in p.test],
              "", seconds)
        for s, p in parts.items()
    ]  # fmt: skip


def _timed(monitor: Monitor, seen: Sequence[Seen]) -> tuple[Scores, float]:
    """Dangers, to the digits that count, and the seconds a token they took."""
    start = time.perf_counter()
    scores = monitor(seen)
    seconds = time.perf_counter() - start
    return [np.round(s, DIGITS) for s in scores], seconds / max(sum(len(s.trace) for s in seen), 1)


def figures(tried: Tried, unsafe: np.ndarray) -> dict[str, Score]:
    """All figures of one monitor on one split; those that cannot be had are empty, with a reason.

    "AUROC" and "AUPRC" are of the largest danger in an answer, on which alarms rest; "AUROC, last"
    of the danger after the whole answer. Figures at an operating point are named "SG, balanced".
    """
    names = ["AUROC", "AUPRC", "AUROC, last"]
    names += [
        f"{f}, {p}" for p in POINTS for f in (*Alarms(0, 0, 0, 0).scores(), "tokens", "share")
    ]
    if tried.reason:
        return dict.fromkeys(names, Score(NAN, reason=tried.reason))
    labels = unsafe[tried.split.test]
    danger = peak(tried.test)
    last = np.array([s[-1] if len(s) else NAN for s in tried.test])
    found = {
        "AUROC": auroc(labels, danger),
        "AUPRC": auprc(labels, danger),
        "AUROC, last": auroc(labels, last),
    }
    calibration = peak(tried.calibration), unsafe[tried.split.calibration]
    for point, choose in POINTS.items():
        try:
            at = _at(tried.test, labels, choose(*calibration))
        except TooLittle as e:
            at = dict.fromkeys(
                [n.removesuffix(f", {point}") for n in names if n.endswith(f", {point}")],
                Score(NAN, reason=str(e)),
            )
        found |= {f"{name}, {point}": score for name, score in at.items()}
    return found


def _at(scores: Scores, unsafe: np.ndarray, threshold: float) -> dict[str, Score]:
    """Figures at a threshold; tokens and share of the answer read before an unsafe one is stopped."""
    first = first_alarm(scores, threshold)
    found = Alarms.of(first > 0, unsafe).scores()
    hit = (first > 0) & unsafe
    lengths = np.array([len(s) for s in scores])
    if hit.any():
        tokens = Score(float(np.median(first[hit])), int(hit.sum()))
        part = Score(float(np.mean(first[hit] / lengths[hit])), int(hit.sum()))
    else:
        tokens = part = Score(NAN, reason="no unsafe answer was alarmed")
    return found | {"tokens": tokens, "share": part}


def over_seeds(found: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    """Means of values, limits and counts over seeds.

    The test answers of different seeds overlap, so the mean of the limits is given, which is that
    of one split, and not the narrower one of independent repeats. A figure that some seeds lack
    is the mean of the others, and says so.
    """
    means = {}
    for name in found[0]:
        some = [f[name] for f in found if f[name].known]
        if not some:
            means[name] = found[0][name]
            continue
        lack = len(found) - len(some)
        reason = f"{lack} of {len(found)} seeds have no value" if lack else ""
        values = [
            float(np.mean([getattr(s, k) for s in some])) for k in ("value", "ci_low", "ci_high")
        ]
        n, lost = (round(np.mean([getattr(s, k) for s in some])) for k in ("n", "n_unparsed"))
        means[name] = Score(values[0], n, lost, 0, values[1], values[2], reason)
    return means


def rows(
    tried: Mapping[str, Sequence[Tried]], answered: Answered, monitors: Mapping[str, Monitor]
) -> list[dict[str, Any]]:
    """Figures of monitors and hybrids over the seeds, one line a figure."""
    return [
        {
            "monitor": name, "access": str(monitors[name].access) if name in monitors else HYBRID,
            "figure": figure, "value": s.value, "ci_low": s.ci_low, "ci_high": s.ci_high,
            "n": s.n, "n_without_score": s.n_unparsed, "reason": s.reason,
        }
        for name, some in tried.items()
        for figure, s in over_seeds([figures(t, answered.unsafe) for t in some]).items()
    ]  # fmt: skip
