"""Monitors that learn from hidden states, or from the first token's distribution; and hybrids of them.

Linear probes, a small network, and regions of hidden states: distance from those of safe answers,
boxes around them, abstract states.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.monitors import base
from trustllm_repro.online.monitors.base import Monitor, Need, Running, require_both_classes
from trustllm_repro.online.monitors.texts import Words

TOKENS = 16  # of an answer, drawn at random, so that long ones do not outweigh
# Prefixes a probe learns from: so many tokens, each sqrt(2) times the last, and the whole answer.
PREFIXES = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512)
# Inverse strength of the ridge, on tokens and on prefixes, which are more alike.
TOKEN_PENALTY, PREFIX_PENALTY = 1e-3, 3e-4
COMPONENTS = 16  # principal ones: a box in all dimensions rejects nearly everything
# The same point projected within another batch may differ in its last bits.
ROUNDING = 1e-9


def states_of(trace: Trace, depths: Sequence[float]) -> np.ndarray:
    """States of the recorded layers nearest to these depths, joined, (n, layers x size) float32.
    Raises InsufficientData: none was recorded."""
    if not trace.hidden:
        raise base.InsufficientData("no hidden states were recorded")
    known = sorted(trace.hidden)
    nearest = (min(known, key=lambda n, d=d: abs(n - d * known[-1])) for d in depths)
    return joined(trace, dict.fromkeys(nearest))


def joined(trace: Trace, layers: Iterable[int]) -> np.ndarray:
    """States of these layers, (n, layers x size) float32."""
    return np.concatenate([trace.hidden[n] for n in layers], axis=1).astype(np.float32)


# What is learned from of the states of one answer, (n, size) -> (some, size).
Part = Callable[[np.ndarray], np.ndarray]


def drawn_tokens(states: np.ndarray, seed: int | np.random.Generator = 0) -> np.ndarray:
    """TOKENS of the rows, in their order; all where there are no more."""
    if len(states) <= TOKENS:
        return states
    return states[np.sort(np.random.default_rng(seed).choice(len(states), TOKENS, replace=False))]


def prefix_means(states: np.ndarray) -> np.ndarray:
    """Running means at PREFIXES and at the end, float32."""
    n = np.array(base.checkpoints(len(states), PREFIXES), dtype=int)
    # Between two prefixes first: a running sum of all tokens takes most of a probe's time.
    parts = np.add.reduceat(states, np.r_[0, n][:-1], axis=0, dtype=np.float64)
    return (np.cumsum(parts, axis=0) / n[:, None]).astype(np.float32)


@dataclass(frozen=True)
class StateMonitor(Running):
    """A score of each token's state, and a running statistic of it."""

    needs: frozenset[Need] = frozenset({Need.HIDDEN})
    depths: tuple[float, ...] = (1.0,)  # of its layers, as shares of the deepest recorded one

    @abstractmethod
    def token_scores(self, states: np.ndarray) -> np.ndarray:
        """(tokens, size) float32 -> (tokens,)."""

    def values(self, tokens: Trace) -> np.ndarray:
        """NaN for tokens whose state is not finite."""
        states = states_of(tokens, self.depths)
        known = np.isfinite(states).all(axis=1)
        values = np.full(len(states), np.nan)
        if known.any():
            values[known] = self.token_scores(states[known])
        return values

    def known_states(
        self, generations: Sequence[Generation], part: Part = lambda states: states
    ) -> list[np.ndarray]:
        """Of each answer the finite states, or a part of them, (some, size) float32. Raises
        InsufficientData: there is none at all."""
        found = []
        for g in generations:
            states = states_of(g.trace, self.depths)
            found.append(part(states[np.isfinite(states).all(axis=1)]))
        if not sum(map(len, found)):
            raise base.InsufficientData("no token with a finite hidden state")
        return found


def linear(
    rows: Sequence[np.ndarray], unsafe: np.ndarray, penalty: float, per_answer: bool
) -> tuple[np.ndarray, float]:
    """Weights and bias of a ridge logistic regression on standardised rows.

    rows: of each answer, (some, size). per_answer: all answers weigh the same, not all rows.
    Raises InsufficientData: fewer than two answers of a kind have rows.
    """
    sizes = np.array([len(r) for r in rows])
    require_both_classes(unsafe[sizes > 0])
    table, labels = np.concatenate(rows), np.repeat(unsafe, sizes)
    weights = np.concatenate([np.full(n, 1 / max(n, 1) if per_answer else 1.0) for n in sizes])
    scaler = StandardScaler().fit(table)
    model = LogisticRegression(C=penalty, max_iter=500, class_weight="balanced")
    model.fit(scaler.transform(table), labels, sample_weight=weights / weights.mean())
    weight = model.coef_[0] / scaler.scale_
    return weight, float(model.intercept_[0] - scaler.mean_ @ weight)


@dataclass(frozen=True)
class LinearProbe(StateMonitor):
    """Logistic regression on states with the label of their answer; running mean of logits."""

    source: str = "Alain and Bengio 2016 (arXiv 1610.01644); arXiv 2606.10487"
    part: Part = drawn_tokens  # what it learns from
    penalty: float = TOKEN_PENALTY
    per_answer: bool = False  # see `linear`

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        rows = self.known_states(generations, self.part)
        return replace(self, model=linear(rows, unsafe, self.penalty, self.per_answer))

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        weight, bias = self.model
        return states @ weight + bias


@dataclass(frozen=True)
class Saplma(StateMonitor):
    """Perceptron 256-128-64-1, ReLU, Adam, cross-entropy, 5 epochs, batches of 32, trained on the
    last tokens of whole answers, as published. The score is the token's own."""

    name: str = "SAPLMA"
    source: str = "Azaria and Mitchell 2023 (arXiv 2304.13734)"
    statistic: Callable[[], base.Last] = base.Last

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        rows = self.known_states(generations, lambda states: states[-1:])
        labels = unsafe[[len(r) > 0 for r in rows]]
        require_both_classes(labels)
        network = MLPClassifier(
            (256, 128, 64), batch_size=min(32, len(labels)), max_iter=5, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # five epochs, as published
            fitted = make_pipeline(StandardScaler(), network).fit(np.concatenate(rows), labels)
        return replace(self, model=fitted)

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(states)[:, 1]


def safe_ones(generations: Sequence[Generation], unsafe: np.ndarray) -> list[Generation]:
    """Raises InsufficientData: there is none, or no other."""
    require_both_classes(unsafe, least=1)
    return [g for g, u in zip(generations, unsafe, strict=True) if not u]


@dataclass(frozen=True)
class Mahalanobis(StateMonitor):
    """Running mean of the distance to the safe tokens' mean under their shrunk covariance."""

    name: str = "Mahalanobis distance"
    source: str = "Lee et al. 2018 (arXiv 1807.03888); covariance: Ledoit and Wolf 2004"

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        safe = self.known_states(safe_ones(generations, unsafe), drawn_tokens)
        # In float64: some models have states of 1,000 beside others of 0.01.
        found = LedoitWolf(store_precision=False).fit(np.concatenate(safe).astype(np.float64))
        # With the covariance as C C', the distance is the length of (state - mean) C'^-1.
        factor = np.linalg.inv(np.linalg.cholesky(found.covariance_)).T
        return replace(self, model=(found.location_, factor))

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        mean, factor = self.model
        return np.linalg.norm((states.astype(np.float64) - mean) @ factor, axis=1)


@dataclass(frozen=True)
class Box(StateMonitor):
    """Largest distance so far to the nearest box, in radii."""

    name: str = "box abstraction"
    source: str = "Henzinger et al. 2020 (arXiv 1911.09032)"
    statistic: Callable[[], base.Last] = base.Highest

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        safe = self.known_states(safe_ones(generations, unsafe))
        states = np.concatenate(safe).astype(np.float64)
        parts = PCA(min(COMPONENTS, *states.shape), random_state=0).fit(states)
        points = parts.transform(states)
        groups = pd.DataFrame(points).groupby(clusters(points))
        return replace(self, model=(parts, groups.min().to_numpy(), groups.max().to_numpy()))

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        parts, low, high = self.model
        return outside(parts.transform(states.astype(np.float64)), low, high)


def clusters(points: np.ndarray, gain: float = 0.07, most: int = 32) -> np.ndarray:
    """Labels of k-means; k grows until one more lowers the inertia by less than `gain`.

    Henzinger et al. 2020, section 4: gain is 1 - I(k + 1) / I(k), 0.07 in their experiments.
    """
    best = KMeans(1, n_init=1, random_state=0).fit(points)
    for k in range(2, min(most, len(points)) + 1):
        if best.inertia_ <= 0:
            break
        found = KMeans(k, n_init=1, random_state=0).fit(points)
        if 1 - found.inertia_ / best.inertia_ < gain:
            break
        best = found
    return best.labels_


def outside(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(points,), least over boxes of |point - nearest point of the box| / |that point - centre|:
    0 inside a box, 1 one radius outside the nearest one."""
    nearest = np.clip(points[:, None], low, high)  # (points, boxes, size)
    gap = np.linalg.norm(points[:, None] - nearest, axis=2)
    radius = np.linalg.norm(nearest - (low + high) / 2, axis=2)
    ratio = np.where(gap > ROUNDING * radius, gap / np.maximum(radius, 1e-300), 0.0)
    return ratio.min(axis=1)


@dataclass(frozen=True)
class AbstractStates(StateMonitor):
    """Running mean of how often a state, and the step into it, belonged to unsafe answers.

    The model: what finds a token's state, and that share, (states + 1, states), by the state before
    (the last row: none) and the state.
    """

    name: str = "abstract states"
    source: str = "Song et al. 2023, LUNA (arXiv 2310.14211)"
    clusters: int = 64  # abstract states
    prior: float = 10.0  # answers of the average kind added to every state and step

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        require_both_classes(unsafe)
        drawn = np.concatenate(self.known_states(generations, drawn_tokens))
        k = min(self.clusters, len(drawn))
        parts = PCA(min(COMPONENTS, *drawn.shape), random_state=0)
        chain = make_pipeline(parts, KMeans(k, n_init=1, random_state=0)).fit(drawn)
        shape = 2, k + 1, k  # safe or unsafe, the state before (k: none), the state
        known = self.known_states(generations)
        sizes = np.array(list(map(len, known)))
        answer = np.repeat(np.arange(len(known)), sizes)
        visited = chain.predict(np.concatenate(known))
        before = pd.Series(visited).groupby(answer).shift(fill_value=k)
        step = np.ravel_multi_index((unsafe[answer].astype(int), before, visited), shape)
        counts = np.bincount(step, 1 / sizes[answer], minlength=np.prod(shape)).reshape(shape)
        average = counts[1].sum() / counts.sum()

        def share(n: np.ndarray) -> np.ndarray:
            return (n[1] + self.prior * average) / (n.sum(axis=0) + self.prior)

        return replace(self, model=(chain, (share(counts.sum(axis=1)) + share(counts)) / 2))

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        """Numbers of the abstract states."""
        return self.model[0].predict(states)

    def begin(self, generation: Generation) -> dict[str, Any]:
        return {"mean": base.Mean(), "state": len(self.model[1]) - 1}

    def step(self, memory: dict[str, Any], tokens: Trace) -> np.ndarray:
        states = self.values(tokens)
        known = np.isfinite(states)
        visited = np.array([memory["state"], *states[known]], dtype=int)
        memory["state"] = visited[-1]
        states[known] = self.model[1][visited[:-1], visited[1:]]
        return memory["mean"].add(states)


@dataclass(frozen=True)
class FirstToken(Running):
    """Lasso logistic regression on the first token's distribution; one score for the whole answer.

    Refusals show before anything is said. A token that is not among an answer's most likely counts
    as the least likely of those.
    """

    name: str = "first token"
    source: str = "Hu et al. 2024, MULI (arXiv 2405.18822)"
    needs: frozenset[Need] = frozenset({Need.FIRST})
    statistic: Callable[[], base.Last] = base.First

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        some = [i for i, g in enumerate(generations) if len(g.trace)]
        require_both_classes(unsafe[some])
        table = first_tokens([generations[i].trace for i in some])
        if not table.nnz:
            raise base.InsufficientData("the first token's distribution was not recorded")
        lasso = LogisticRegression(
            l1_ratio=1.0, solver="liblinear", class_weight="balanced", max_iter=1000, random_state=0
        )
        return replace(self, model=lasso.fit(table, unsafe[some]))

    def values(self, tokens: Trace) -> np.ndarray:
        first = first_tokens([tokens], self.model.n_features_in_)
        return np.full(len(tokens), self.model.decision_function(first)[0])


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


@dataclass(frozen=True, kw_only=True)
class Hybrid(Monitor):
    """Mean of the members' scores, each first put on the scale of its scores of training answers:
    the model is the scales, of each member (mean, spread), or its sorted scores."""

    members: tuple[Monitor, ...]
    source: str = "arXiv 2404.08517, hybridisation"
    by_rank: bool = False  # the share of training tokens that score less; else the z-score

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs", frozenset().union(*(m.needs for m in self.members)))

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        fitted = [m.fit(generations, unsafe) for m in self.members]
        scores = [np.concatenate(m(generations)) for m in fitted]
        return replace(self, members=tuple(fitted)).scaled(scores)

    def scaled(self, scores: Sequence[np.ndarray]) -> Self:
        """With the scales of its members' scores of all tokens of the training answers."""
        known = [s[np.isfinite(s)] for s in scores]
        spread = [(k.mean(), k.std() or 1.0) if len(k) else (np.nan, 1.0) for k in known]
        return replace(self, model=[np.sort(k) for k in known] if self.by_rank else spread)

    def combine(self, scores: Sequence[np.ndarray]) -> np.ndarray:
        """From its members' scores of the same tokens; NaN where any of them is."""
        return np.mean([self._scale(s, k) for s, k in zip(scores, self.model, strict=True)], axis=0)

    def _scale(self, scores: np.ndarray, scale: Any) -> np.ndarray:
        if not self.by_rank:
            return (scores - scale[0]) / scale[1]
        below, upto = (np.searchsorted(scale, scores, side=side) for side in ("left", "right"))
        return np.where(np.isnan(scores), np.nan, (below + upto) / (2 * max(len(scale), 1)))

    def score(self, generation: Generation) -> np.ndarray:
        return self.combine([m.score(generation) for m in self.members])

    def begin(self, generation: Generation) -> list[Any]:
        return [m.begin(generation) for m in self.members]

    def step(self, memory: list[Any], tokens: Trace) -> np.ndarray:
        pairs = zip(self.members, memory, strict=True)
        return self.combine([m.step(own, tokens) for m, own in pairs])


_TOKEN = LinearProbe("token probe", depths=(1 / 2,))
_PREFIX = LinearProbe(
    "prefix probe",
    part=prefix_means,
    depths=(1 / 3, 1 / 2, 2 / 3),
    penalty=PREFIX_PENALTY,
    per_answer=True,
)
_ENTROPY = base.by_name(base.MONITORS)["average entropy"]

MONITORS = (
    _TOKEN,
    LinearProbe("token probe, last layer"),
    _PREFIX,
    LinearProbe(  # a control: one score for the whole answer, of a state before it
        "prompt probe",
        "Latent Sentinel (OpenReview tuFRx6Ww2n)",
        statistic=base.First,
        part=lambda states: states[:1],
        penalty=1e-2,
    ),
    Saplma(),
    FirstToken(),
    Mahalanobis(),
    Box(),
    AbstractStates(),
    # Named before any number was seen (studies/claims.py).
    Hybrid(name="prefix + token probe", members=(_PREFIX, _TOKEN)),
    Hybrid(name="probes + words", members=(_PREFIX, _TOKEN, Words())),
    Hybrid(name="entropy + token probe", members=(_ENTROPY, _TOKEN), by_rank=True),
)
