"""The distribution of the first token alone (MULI): refusals show before anything is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy import sparse

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import (
    Access,
    InsufficientData,
    Need,
    Scores,
    require_both_classes,
)


@dataclass(frozen=True)
class FirstToken:
    """Lasso logistic regression on the first token's distribution; one score for the whole answer.

    A token that is not among an answer's likeliest counts as the least likely of those.
    """

    name: str = "first token"
    penalty: float = 1.0
    source: str = "Hu et al. 2024, MULI (arXiv 2405.18822)"
    access: Access = Access.GREY
    needs: frozenset[Need] = frozenset({Need.FIRST})
    trained: bool = True
    model: Any = None

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        from sklearn.linear_model import LogisticRegression

        some = [i for i, g in enumerate(generations) if len(g.trace)]
        require_both_classes(unsafe[some])
        fixed = {"class_weight": "balanced", "max_iter": 1000, "random_state": 0}
        lasso = LogisticRegression(l1_ratio=1.0, C=self.penalty, solver="liblinear", **fixed)
        return replace(
            self, model=lasso.fit(features([generations[i] for i in some]), unsafe[some])
        )

    def __call__(self, generations: Sequence[Generation]) -> Scores:
        scores = np.zeros(len(generations))
        if some := [i for i, g in enumerate(generations) if len(g.trace)]:
            table = features([generations[i] for i in some], self.model.n_features_in_)
            scores[some] = self.model.decision_function(table)
        return [np.full(len(g.trace), d) for g, d in zip(generations, scores, strict=True)]


def features(generations: Sequence[Generation], size: int = 0) -> sparse.csr_array:
    """(answers, vocabulary), nats above the least of those kept."""
    ids, logp = [g.trace.first_ids for g in generations], [g.trace.first_logp for g in generations]
    if not any(map(len, ids)):
        raise InsufficientData("the first token's distribution was not recorded")
    # 32 bits, as liblinear takes no others.
    rows = np.repeat(np.arange(len(generations), dtype=np.int32), [len(i) for i in ids])
    columns, values = np.concatenate(ids), np.concatenate([p - p.min() for p in logp])
    shape = (len(generations), size or int(columns.max()) + 1)
    at = columns < shape[1]
    return sparse.csr_array((values[at], (rows[at], columns[at])), shape=shape)


MONITORS = (FirstToken(),)
