"""What is learned from hidden states, or from the first token's distribution: probes.

`StateMonitor` is what those in regions.py share with them.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse

from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.monitors.base import (
    InsufficientData,
    Monitor,
    Need,
    Scores,
    require_both_classes,
)
from trustllm_repro.online.monitors.running import First, Last, Mean

TOKENS = 16  # of an answer, drawn at random, so that long ones do not outweigh
# Prefixes a probe learns from: so many tokens, each sqrt(2) times the last, and the whole answer.
PREFIXES = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512)
# Inverse strength of the ridge, on tokens, on prefixes, which are more alike, and on prompts.
TOKEN_PENALTY, PREFIX_PENALTY, PROMPT_PENALTY = 1e-3, 3e-4, 1e-2
MIDDLE, MIDDLES = (1 / 2,), (1 / 3, 1 / 2, 2 / 3)


@dataclass(frozen=True)
class StateMonitor(Monitor, ABC):
    """A score of each token's state, and a running statistic of it.

    Attributes:
        depths: of the layers whose states it reads, joined, as shares of the deepest recorded one.
    """

    needs: frozenset[Need] = frozenset({Need.HIDDEN})
    depths: tuple[float, ...] = (1.0,)
    statistic: Callable[[], Last] = Mean

    @abstractmethod
    def token_scores(self, states: np.ndarray) -> np.ndarray:
        """(tokens, size) float32 -> (tokens,)."""

    def begin(self, generation: Generation) -> Last:
        return self.statistic()

    def step(self, memories: Sequence[Last], tokens: Sequence[Trace]) -> Scores:
        """NaN for tokens whose state is not finite, and for what a running statistic makes of it.

        Tokens of all answers are scored at once.
        """
        states = np.concatenate([states_of(t, self.depths) for t in tokens])
        known = np.isfinite(states).all(axis=1)
        values = np.full(len(states), np.nan)
        if known.any():
            values[known] = self.token_scores(states[known])
        parts = np.split(values, np.cumsum([len(t) for t in tokens])[:-1])
        return [m.add(v, t) for m, v, t in zip(memories, parts, tokens, strict=True)]

    def known_states(
        self, generations: Sequence[Generation], drawn: bool = False
    ) -> list[np.ndarray]:
        """Of each answer the finite states, or at most TOKENS `drawn` ones, (some, size) float32.

        Raises:
            InsufficientData: there is none at all.
        """

        def draw(trace: Trace) -> np.ndarray:
            return draw_tokens(finite_states(trace, self.depths), np.random.default_rng(0))

        if drawn:
            found = [once(g.trace, self.depths, draw) for g in generations]
        else:
            found = [finite_states(g.trace, self.depths) for g in generations]
        if not sum(map(len, found)):
            raise InsufficientData("no token with a finite hidden state")
        return found


_MADE: WeakKeyDictionary[Trace, dict[Any, np.ndarray]] = WeakKeyDictionary()


def once(trace: Trace, key: Any, make: Callable[[Trace], np.ndarray]) -> np.ndarray:
    """What `make` gives, kept as long as the trace: every fold and placebo learns from it again."""
    known = _MADE.setdefault(trace, {})
    if key not in known:
        known[key] = make(trace)
    return known[key]


def states_of(trace: Trace, depths: Sequence[float]) -> np.ndarray:
    """States of the recorded layers nearest to these depths, joined, (n, layers x size) float32.

    Raises:
        InsufficientData: none was recorded.
    """
    if not trace.hidden:
        raise InsufficientData("no hidden states were recorded")
    known = sorted(trace.hidden)
    layers = {min(known, key=lambda n, d=d: abs(n - d * known[-1])): None for d in depths}
    return np.concatenate([trace.hidden[n] for n in layers], axis=1).astype(np.float32)


def finite_states(trace: Trace, depths: Sequence[float]) -> np.ndarray:
    states = states_of(trace, depths)
    return states[np.isfinite(states).all(axis=1)]


def draw_tokens(states: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """TOKENS of the rows, in their order; all where there are no more."""
    n = len(states)
    return states if n <= TOKENS else states[np.sort(draw.choice(n, TOKENS, replace=False))]


def prefix_lengths(n: int) -> list[int]:
    return [*(k for k in PREFIXES if k < n), n]


def prefix_means(states: np.ndarray) -> np.ndarray:
    """Running means at PREFIXES and at the end, (n, size) -> (prefixes, size) float32."""
    total = np.cumsum(states, axis=0, dtype=np.float64)
    return np.stack([total[k - 1] / k for k in prefix_lengths(len(states))]).astype(np.float32)


def linear(
    rows: Sequence[np.ndarray], unsafe: np.ndarray, penalty: float, alike: bool
) -> tuple[np.ndarray, float]:
    """Weights and bias of a ridge logistic regression on standardised rows.

    Args:
        rows: of each answer, (some, size). alike: all answers weigh the same, not all rows.

    Raises:
        InsufficientData: fewer than two answers of a kind have rows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    sizes = np.array([len(r) for r in rows])
    require_both_classes(unsafe[sizes > 0])
    table, labels = np.concatenate(rows), np.repeat(unsafe, sizes)
    weights = np.concatenate([np.full(n, 1 / max(n, 1) if alike else 1.0) for n in sizes])
    scaler = StandardScaler().fit(table)
    model = LogisticRegression(C=penalty, max_iter=500, class_weight="balanced")
    model.fit(scaler.transform(table), labels, sample_weight=weights / weights.mean())
    weight = model.coef_[0] / scaler.scale_
    return weight, float(model.intercept_[0] - scaler.mean_ @ weight)


@dataclass(frozen=True)
class TokenProbe(StateMonitor):
    """Logistic regression on tokens that carry the label of their answer; running mean of logits."""

    source: str = "Alain and Bengio 2016 (arXiv 1610.01644); arXiv 2606.10487"

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        rows = self.known_states(generations, drawn=True)
        return replace(self, model=linear(rows, unsafe, TOKEN_PENALTY, alike=False))

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        weight, bias = self.model
        return states @ weight + bias


@dataclass(frozen=True)
class PrefixProbe(TokenProbe):
    """The same on running means over prefixes of the answers: what stands after n tokens."""

    depths: tuple[float, ...] = MIDDLES

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        def means(trace: Trace) -> np.ndarray:
            states = finite_states(trace, self.depths)
            return prefix_means(states) if len(states) else states

        rows = [once(g.trace, ("means", self.depths), means) for g in generations]
        return replace(self, model=linear(rows, unsafe, PREFIX_PENALTY, alike=True))


@dataclass(frozen=True)
class PromptProbe(TokenProbe):
    """A control: the prompt's last state alone, one score for the whole answer."""

    source: str = "Latent Sentinel (OpenReview tuFRx6Ww2n)"
    statistic: Callable[[], Last] = First

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        rows = [states[:1] for states in self.known_states(generations)]
        return replace(self, model=linear(rows, unsafe, PROMPT_PENALTY, alike=False))


@dataclass(frozen=True)
class Saplma(StateMonitor):
    """Perceptron 256-128-64-1, ReLU, Adam, cross-entropy, 5 epochs, batches of 32.

    Trained on the last tokens of whole answers, as published; what it says of prefixes it was not
    taught. The score is the token's own.
    """

    name: str = "SAPLMA"
    source: str = "Azaria and Mitchell 2023 (arXiv 2304.13734)"
    statistic: Callable[[], Last] = Last

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        known = self.known_states(generations)
        some = [i for i, states in enumerate(known) if len(states)]
        require_both_classes(unsafe[some])
        states = np.stack([known[i][-1] for i in some])
        network = MLPClassifier(
            (256, 128, 64), batch_size=min(32, len(some)), max_iter=5, random_state=0
        )
        with warnings.catch_warnings():
            # Five epochs are the published setting; that they are few is no news.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = make_pipeline(StandardScaler(), network).fit(states, unsafe[some])
        return replace(self, model=fitted)

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(states)[:, 1]


@dataclass(frozen=True)
class FirstToken(Monitor):
    """Lasso logistic regression on the first token's distribution; one score for the whole answer.

    Refusals show before anything is said. A token that is not among an answer's most likely counts
    as the least likely of those.
    """

    name: str = "first token"
    source: str = "Hu et al. 2024, MULI (arXiv 2405.18822)"
    needs: frozenset[Need] = frozenset({Need.FIRST})

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        from sklearn.linear_model import LogisticRegression

        some = [i for i, g in enumerate(generations) if len(g.trace)]
        require_both_classes(unsafe[some])
        table = first_tokens([generations[i].trace for i in some])
        if not table.nnz:
            raise InsufficientData("the first token's distribution was not recorded")
        lasso = LogisticRegression(
            l1_ratio=1.0, solver="liblinear", class_weight="balanced", max_iter=1000, random_state=0
        )
        return replace(self, model=lasso.fit(table, unsafe[some]))

    def begin(self, generation: Generation) -> First:
        return First()

    def step(self, memories: Sequence[First], tokens: Sequence[Trace]) -> Scores:
        scores = self.model.decision_function(first_tokens(tokens, self.model.n_features_in_))
        rows = zip(memories, scores, tokens, strict=True)
        return [memory.add(np.full(len(t), score), t) for memory, score, t in rows]


def first_tokens(traces: Sequence[Trace], size: int = 0) -> sparse.csr_array:
    """(answers, vocabulary), nats of each first token above the least of those kept."""
    ids = [t.first_ids for t in traces]
    # 32 bits, as liblinear takes no others.
    rows = np.repeat(np.arange(len(traces), dtype=np.int32), [len(i) for i in ids])
    columns = np.concatenate(ids)
    values = np.concatenate([t.first_logp - t.first_logp.min(initial=0) for t in traces])
    shape = (len(traces), size or int(columns.max(initial=0)) + 1)
    at = columns < shape[1]
    return sparse.csr_array((values[at], (rows[at], columns[at])), shape=shape)


MONITORS = (
    TokenProbe("token probe", depths=MIDDLE),
    TokenProbe("token probe, last layer"),
    PrefixProbe("prefix probe"),
    PromptProbe("prompt probe"),
    Saplma(),
    FirstToken(),
)
