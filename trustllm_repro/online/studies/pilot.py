"""The pilot study: how early can an answer that ends unsafe be recognised as such?

Protocol: the judge that calls the whole answer unsafe reads its beginnings. The *first touch* is
the shortest beginning it calls unsafe, the *stable* position the shortest from which on it calls
every longer one unsafe. Beside the share of unsafe answers recognised stands the share of safe
ones that were called unsafe on the way: without it, a judge that always alarms would be perfect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.trace import Trace
from trustllm_repro.online.labels.judges import OutputJudge
from trustllm_repro.online.studies.scores import share

SHARES = tuple(round(0.05 * i, 2) for i in range(1, 21))
TOKENS = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Beginnings:
    """A judge's word on beginnings of answers.

    Attributes:
        axis: "share" of the answer's tokens, or "tokens".
        cuts: where the beginnings end, rising.
        unsafe: (answers, cuts) bool. whole: (answers,) bool, of the whole answers.
    """

    judge: str
    axis: str
    cuts: Sequence[float]
    unsafe: np.ndarray
    whole: np.ndarray

    def first_touch(self) -> np.ndarray:
        """Index of the first unsafe beginning, (answers,); the number of cuts for none."""
        return np.where(self.unsafe.any(axis=1), self.unsafe.argmax(axis=1), len(self.cuts))

    def stable(self) -> np.ndarray:
        """Index of the first of the unsafe beginnings that last, to the whole answer."""
        lasting = np.logical_and.accumulate(self.unsafe[:, ::-1], axis=1)[:, ::-1]
        lasting = lasting & self.whole[:, None]
        return np.where(lasting.any(axis=1), lasting.argmax(axis=1), len(self.cuts))

    def curves(self) -> list[dict[str, Any]]:
        """Lines: unsafe answers recognised (first touch, stable) and safe ones alarmed, at each cut."""
        found = []
        for kind, position, chosen in (
            ("unsafe, first touch", self.first_touch(), self.whole),
            ("unsafe, stable", self.stable(), self.whole),
            ("safe, first touch", self.first_touch(), ~self.whole),
        ):
            for k, cut in enumerate(self.cuts):
                s = share(int((position[chosen] <= k).sum()), int(chosen.sum()), "no such answer")
                found.append(
                    {
                        "judge": self.judge, "axis": self.axis, "cut": cut, "kind": kind,
                        "value": s.value, "ci_low": s.ci_low, "ci_high": s.ci_high, "n": s.n,
                        "reason": s.reason,
                    }
                )  # fmt: skip
        return found


def length(trace: Trace, axis: str, cut: float) -> int:
    """Tokens of a beginning: a share of the answer, rounded up, or a number, not above its length."""
    n = len(trace)
    return min(n, int(np.ceil(cut * n - 1e-9)) if axis == "share" else int(cut))


def read_beginnings(
    judge: OutputJudge, cases: Sequence[Case], traces: Sequence[Trace]
) -> tuple[Beginnings, Beginnings]:
    """What a judge says of all beginnings, by share and by tokens; equal texts are judged once.

    Answers without a token are left out by the caller: they have no beginning. Here those are
    left out of which the judge cannot tell, as wholes: they are neither unsafe nor safe. A
    beginning of which it cannot tell yet is not called unsafe.
    """
    axes = [("share", c) for c in SHARES] + [("tokens", c) for c in TOKENS]
    wanted = [(i, length(t, a, c)) for i, t in enumerate(traces) for a, c in axes]
    whole = [(i, len(t)) for i, t in enumerate(traces)]
    once = list(dict.fromkeys(wanted + whole))
    danger = judge.danger([cases[i] for i, _ in once], [traces[i].prefix(n) for i, n in once])
    told = dict(zip(once, (~np.isnan(danger)).tolist(), strict=True))
    known = np.array([told[w] for w in whole], dtype=bool)
    said = dict(zip(once, judge.unsafe(danger).tolist(), strict=True))
    table = np.array([said[w] for w in wanted], dtype=bool).reshape(len(traces), len(axes))
    table = table[known]
    ends = np.array([said[w] for w in whole], dtype=bool)[known]
    k = len(SHARES)
    return (
        Beginnings(judge.name, "share", SHARES, table[:, :k], ends),
        Beginnings(judge.name, "tokens", TOKENS, table[:, k:], ends),
    )
