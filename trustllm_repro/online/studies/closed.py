"""The same answers seen at several levels of access: which monitors still run, and how well.

Below its own level a model is looked at with what the level does not show taken away
(levels.mask), so what is compared is access and nothing else: answers, labels and splits are the
same. Monitors that see nothing less exactly than before are not tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trustllm_repro.online.studies.benchmark import Tried, attempts, over_seeds
from trustllm_repro.online.studies.levels import Level, mask, up_to
from trustllm_repro.online.studies.operate import peak
from trustllm_repro.online.studies.pairs import median_p
from trustllm_repro.online.studies.scores import NAN, auroc, paired_auroc
from trustllm_repro.online.studies.study import Row, Study
from trustllm_repro.schema import Score


def access(study: Study) -> list[Row]:
    """A line a level and monitor, from text only up to what was seen of the model.

    `value` is the AUROC, mean of the seeds, with the interval of one split (DeLong); `loss` what of
    it is lost against the model's own level, mean of the seeds, and `p` that of paired tests
    (pairs.median_p). Both are empty for a monitor that sees the same at both, which is `changed`
    False, and loses nothing.
    """
    return [line for level in up_to(study.level) for line in _at(study, level)]


def _at(study: Study, level: Level) -> list[Row]:
    changed = {n for n, m in study.monitors.items() if level.changes(m) and not level.why_not(m)}
    changed = changed if level != study.level else set()
    seen = [mask(s, level) for s in study.answered.seen] if changed else ()
    masked = replace(study.answered, seen=seen)
    lines = []
    for name, monitor in study.monitors.items():
        own, why_not = study.tried[name], level.why_not(monitor)
        seeds = [t.seed for t in own]
        tried = attempts(monitor, masked, seeds) if name in changed else own
        found = Score(NAN, reason=why_not) if why_not else area(tried, study.answered.unsafe)
        loss, p = lost(own, tried, study.answered.unsafe) if name in changed else (NAN, NAN)
        lines.append(
            {
                "level": level.name, "monitor": name, "access": str(monitor.access),
                "runs": not why_not, "changed": name in changed, "value": found.value,
                "ci_low": found.ci_low, "ci_high": found.ci_high, "n": found.n,
                "n_without_score": found.n_unparsed, "loss": loss, "p": p, "reason": found.reason,
            }
        )  # fmt: skip
    return lines


def area(tried: Sequence[Tried], unsafe: np.ndarray) -> Score:
    """AUROC over the seeds, as in the table of monitors (benchmark.figures)."""
    return over_seeds(
        [
            {"AUROC": Score(NAN, reason=t.reason) if t.reason
             else auroc(unsafe[t.split.test], peak(t.test))}
            for t in tried
        ]
    )["AUROC"]  # fmt: skip


def lost(own: Sequence[Tried], less: Sequence[Tried], unsafe: np.ndarray) -> tuple[float, float]:
    """AUROC lost by seeing less, mean of the seeds, and p. NaN both where no seed can be compared.

    Args:
        own, less: one monitor with all that is seen and with less, on the same splits.
    """
    both = [(a, b) for a, b in zip(own, less, strict=True) if not a.reason and not b.reason]
    found = [paired_auroc(unsafe[a.split.test], peak(a.test), peak(b.test)) for a, b in both]
    gaps = [gap for gap, _ in found if not np.isnan(gap)]
    return float(np.mean(gaps)) if gaps else NAN, median_p([p for _, p in found])
