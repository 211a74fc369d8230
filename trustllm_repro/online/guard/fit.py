"""From labelled answers to a guard's readers: probes trained on tokens and on prefixes.

Every answer is scored by a model that saw no answer to its prompt (grouped cross-fitting); the
fitted probe is the mean of those models, so all answers teach it and its scores are on the scale
of those the thresholds come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trustllm_repro.online.generations.generation import Trace
from trustllm_repro.online.guard.calibration import Calibration
from trustllm_repro.online.guard.probe import Probe
from trustllm_repro.online.guard.words import BUCKETS, WordProbe, buckets, split_words

FOLDS = 5
# Prefixes a probe learns from: so many tokens, each sqrt(2) times the last, and the whole answer.
PREFIXES = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512)
TOKENS = 16  # of an answer, drawn at random, so that long ones do not outweigh
# Inverse strength of the ridge, on tokens and on prefixes, which are more alike.
TOKEN_PENALTY, PREFIX_PENALTY = 1e-3, 3e-4
SMOOTHING = 2.0  # added to every count of words


@dataclass(frozen=True)
class Examples:
    """Answers a guard learns from.

    Attributes:
        traces: what the model left of each. unsafe: (answers,) bool. group: (answers,) int, the
            number of its prompt. fold: (answers,) int.
    """

    traces: Sequence[Trace]
    unsafe: np.ndarray
    group: np.ndarray
    fold: np.ndarray

    @classmethod
    def of(
        cls, traces: Sequence[Trace], unsafe: Sequence[bool], prompts: Sequence[str]
    ) -> Examples:
        """Prompts are dealt to FOLDS folds; both kinds of answers are in all of them if they can be."""
        from sklearn.model_selection import StratifiedGroupKFold

        labels = np.asarray(unsafe, dtype=bool)
        group = np.unique(np.asarray(prompts, dtype=object), return_inverse=True)[1]
        fold = np.zeros(len(labels), dtype=np.int32)
        dealt = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
        for k, (_, held_out) in enumerate(dealt.split(labels, labels, group)):
            fold[held_out] = k
        return cls(traces, labels, group.astype(np.int32), fold)

    def calibration(self, scores: Sequence[np.ndarray]) -> Calibration:
        """Of scores after each token; NaN: not known yet."""
        peaks = [np.nanmax(s) if np.isfinite(s).any() else np.nan for s in scores]
        return Calibration(np.array(peaks, np.float32), self.unsafe, self.fold, self.group)


def fit_states(examples: Examples, layers: Sequence[int]) -> tuple[Probe, Calibration]:
    """The mean of z-scores of two linear probes: of tokens of the middle one of the layers, and of
    running means (prefixes) of all of them."""
    states = [_joined(t, layers) for t in examples.traces]
    probes = [
        _states_probe([states[i] for i in at], examples.unsafe[at], layers)
        for at in _others(examples.fold)
    ]
    scores = [probes[k].read(s) for k, s in zip(examples.fold, states, strict=True)]
    weight = torch.stack([p.weight for p in probes]).mean(0)
    probe = Probe(tuple(layers), weight, float(np.mean([p.bias for p in probes])))
    return probe, examples.calibration(scores)


def fit_words(examples: Examples) -> tuple[WordProbe, Calibration]:
    """Naive Bayes on words and word pairs: how much more often unsafe answers hold them."""
    counts = [word_counts(t.text) for t in examples.traces]
    probes = [words_probe(counts, examples.unsafe, at) for at in _others(examples.fold)]
    scores = [
        probes[k].read(t.text, t.ends) for k, t in zip(examples.fold, examples.traces, strict=True)
    ]
    weight = np.mean([p.weight for p in probes], axis=0, dtype=np.float32)
    return WordProbe(weight), examples.calibration(scores)


def _others(fold: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(fold != k) for k in range(FOLDS)]


def _joined(trace: Trace, layers: Sequence[int]) -> np.ndarray:
    return np.concatenate([trace.hidden[n] for n in layers], axis=1).astype(np.float32)


def _states_probe(states: list[np.ndarray], unsafe: np.ndarray, layers: Sequence[int]) -> Probe:
    size = states[0].shape[1] // len(layers)
    at = slice(len(layers) // 2 * size, (len(layers) // 2 + 1) * size)
    draw = np.random.default_rng(0)
    tokens = [_some(s[:, at], draw) for s in states]
    token = linear(tokens, unsafe, TOKEN_PENALTY, alike=False)
    prefix = linear([prefix_means(s) for s in states], unsafe, PREFIX_PENALTY, alike=True)
    spread = [
        _spread([_running(s @ w + b) for s in some])
        for some, (w, b) in ((states, prefix), ([s[:, at] for s in states], token))
    ]
    weight = prefix[0] / spread[0]
    weight[at] += token[0] / spread[1]
    bias = prefix[1] / spread[0] + token[1] / spread[1]
    return Probe(tuple(layers), torch.from_numpy(weight.astype(np.float32)), float(bias))


def _some(states: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    n = len(states)
    return states if n <= TOKENS else states[np.sort(draw.choice(n, TOKENS, replace=False))]


def _prefix_lengths(n: int) -> list[int]:
    return [k for k in PREFIXES if k < n] + [n]


def prefix_means(states: np.ndarray) -> np.ndarray:
    """Running means at PREFIXES and at the end, (n, size) -> (prefixes, size) float32."""
    total = np.cumsum(states, axis=0, dtype=np.float64)
    lengths = _prefix_lengths(len(states))
    return np.stack([total[k - 1] / k for k in lengths]).astype(np.float32)


def _running(each: np.ndarray) -> np.ndarray:
    return np.cumsum(each) / np.arange(1, len(each) + 1)


def _spread(scores: Sequence[np.ndarray]) -> float:
    return float(np.concatenate(scores).std()) or 1.0


def linear(
    rows: Sequence[np.ndarray], unsafe: np.ndarray, penalty: float, alike: bool
) -> tuple[np.ndarray, float]:
    """Weights and bias of a ridge logistic regression on standardised rows.

    Args:
        rows: of each answer, (some, size). alike: all answers weigh the same, not all rows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    table, labels = np.concatenate(rows), np.repeat(unsafe, [len(r) for r in rows])
    weights = np.concatenate([np.full(len(r), 1 / len(r) if alike else 1.0) for r in rows])
    scaler = StandardScaler().fit(table)
    model = LogisticRegression(C=penalty, max_iter=500, class_weight="balanced")
    model.fit(scaler.transform(table), labels, sample_weight=weights / weights.mean())
    weight = model.coef_[0] / scaler.scale_
    return weight, float(model.intercept_[0] - scaler.mean_ @ weight)


def word_counts(text: str) -> np.ndarray:
    """Where the words and word pairs of a text count, see words.buckets; (2 x words,) int64."""
    return buckets(split_words(text)).ravel()


def words_probe(counts: Sequence[np.ndarray], unsafe: np.ndarray, at: np.ndarray) -> WordProbe:
    """Log ratio of smoothed frequencies, halved: a word counts alone and in a pair."""
    logs = []
    for kind in (True, False):
        of_kind = np.concatenate([counts[i] for i in at if unsafe[i] == kind])
        often = np.bincount(of_kind, minlength=BUCKETS) + SMOOTHING
        logs.append(np.log(often / often.sum()))
    return WordProbe(((logs[0] - logs[1]) / 2).astype(np.float32))
