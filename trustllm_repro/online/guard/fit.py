"""From labelled answers to a guard's readers, and how often each would stop safe answers.

Every answer is scored by a model that saw no answer to its prompt (grouped cross-fitting); the
fitted reader is the mean of those models, so all answers teach it and its scores are on the scale
of those the thresholds come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from trustllm_repro.errors import SchemaError, SettingsError, SourceMissing
from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.generations.levels import top_only
from trustllm_repro.online.guard.criteria import Probe
from trustllm_repro.online.monitors.base import InsufficientData, checkpoints
from trustllm_repro.online.monitors.probes import (
    PREFIX_PENALTY,
    PREFIXES,
    TOKEN_PENALTY,
    drawn_tokens,
    linear,
    prefix_means,
)
from trustllm_repro.online.monitors.running import Mean, of_top
from trustllm_repro.online.monitors.words import Words
from trustllm_repro.online.studies.estimates import threshold_at_fpr, upper_bound
from trustllm_repro.online.studies.evaluate import FOLDS, deal

# What reads an answer: hidden states, its text, or its text and the most likely tokens.
STATES, WORDS, ENTROPY = "states", "words", "words + entropy"
COLUMNS = ["prompt", "answer", "unsafe"]
LEAST = 20  # unsafe and safe examples each: below it, five folds teach nothing
_LABELS = {"0": False, "1": True, "false": False, "true": True}
RISKS = (0.01, 0.05, 0.10)
POINTS = ["risk", "threshold", "stopped_safe", "upper", "stopped_unsafe"]
DRAWS = 2000


def read_csv(path: Path) -> pd.DataFrame:
    """Columns prompt, answer, unsafe (bool).

    Raises:
        SourceMissing: no such file. SchemaError: a column is missing, or a label is none.
    """
    if not path.is_file():
        raise SourceMissing(f"no file {path}", remedy=f"a CSV with columns {', '.join(COLUMNS)}")
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [c for c in COLUMNS if c not in rows]:
        raise SchemaError(str(path), None, missing[0], "a column of this name expected")
    labels = rows.unsafe.str.strip().str.lower().map(_LABELS)
    if labels.isna().any():
        at = int(labels.isna().idxmax())
        raise SchemaError(str(path), at, "unsafe", "0, 1, true or false expected")
    return rows.assign(unsafe=labels.astype(bool))


def checked(examples: pd.DataFrame | Iterable[tuple[str, str, bool]]) -> pd.DataFrame:
    """The examples as a frame. Raises SettingsError."""
    if not isinstance(examples, pd.DataFrame):
        examples = pd.DataFrame(list(examples), columns=COLUMNS)
    if missing := [c for c in COLUMNS if c not in examples]:
        raise SettingsError(
            f"the examples have no column {missing[0]!r}", remedy=f"columns {', '.join(COLUMNS)}"
        )
    rows = examples[COLUMNS].reset_index(drop=True)
    for i, row in enumerate(rows.itertuples(index=False)):
        if not (isinstance(row.prompt, str) and isinstance(row.answer, str)):
            raise SettingsError(f"example {i}: prompt or answer is no text", remedy="fix that row")
        if row.unsafe not in (True, False):
            raise SettingsError(f"example {i}: unsafe is {row.unsafe!r}", remedy="True or False")
    unsafe = int(rows.unsafe.astype(bool).sum())
    if min(unsafe, len(rows) - unsafe) < LEAST:
        raise SettingsError(
            f"{unsafe} unsafe and {len(rows) - unsafe} safe examples",
            remedy=f"at least {LEAST} of each",
        )
    if (n := rows.prompt.nunique()) < FOLDS:
        raise SettingsError(f"answers to {n} prompts", remedy=f"answers to at least {FOLDS}")
    return rows


@dataclass(frozen=True, eq=False)
class Calibration:
    """Largest scores of answers that the scoring model had not seen (out of fold).

    Attributes:
        peaks: (answers,) float32. unsafe: (answers,) bool. fold, group: (answers,) int32; answers
            to one prompt are a group, and a group is in one fold.
    """

    peaks: np.ndarray
    unsafe: np.ndarray
    fold: np.ndarray
    group: np.ndarray

    def threshold(self, risk: float) -> float:
        """Lowest at which an exchangeable safe answer is stopped with probability <= risk.

        Raises SettingsError: a risk outside (0, 1), or too few safe answers for it.
        """
        if not 0 < risk < 1:
            raise SettingsError(f"a risk of {risk}", remedy="above 0 and below 1")
        try:
            return threshold_at_fpr(self.peaks.astype(np.float64), self.unsafe, risk)
        except InsufficientData as e:
            raise SettingsError(str(e), remedy="a larger risk, or more safe examples") from e

    def operating_points(self) -> pd.DataFrame:
        """A row of POINTS a risk that can be kept; see Guard.operating_points.

        The rates are of thresholds set on the other folds, so they are no fit. `upper` is a
        bootstrap over prompts, but never below what as many independent prompts without any alarm
        would allow (Clopper and Pearson).
        """
        rows, safe = [], ~self.unsafe
        for risk in RISKS:
            try:
                threshold, hit = self.threshold(risk), self._held_out(risk)
            except SettingsError:
                continue
            upper = _upper(hit[safe], self.group[safe])
            rows.append((risk, threshold, hit[safe].mean(), upper, hit[self.unsafe].mean()))
        return pd.DataFrame(rows, columns=POINTS)

    def _held_out(self, risk: float) -> np.ndarray:
        """(answers,) bool, whether each is stopped by a threshold of the other folds."""
        hit = np.zeros(len(self.peaks), dtype=bool)
        for k in np.unique(self.fold):
            others = self.fold != k
            part = Calibration(*(x[others] for x in vars(self).values()))
            hit[~others] = self.peaks[~others] >= part.threshold(risk)
        return hit


def _upper(hit: np.ndarray, group: np.ndarray) -> float:
    """Upper bound of a rate of answers of which those to one prompt are alike."""
    table = pd.DataFrame({"hit": hit, "n": 1}).groupby(group).sum().to_numpy()
    draws = np.random.default_rng(0).integers(len(table), size=(DRAWS, len(table)))
    hits, n = table[draws].sum(axis=1).T
    return upper_bound(hits / n, len(table))


def fit_readers(
    traces: Sequence[Trace], unsafe: np.ndarray, prompts: Sequence[str]
) -> dict[str, Any]:
    """Fields of a Guard: probe, words, entropy, calibrations.

    Args:
        traces: with at least a token each, and the states of the layers to learn from.

    Raises:
        SettingsError: nearly all answers of a kind are to the same prompts.
    """
    group = np.unique(np.asarray(prompts, dtype=object), return_inverse=True)[1]
    fold = deal(group, unsafe, seed=0)
    try:
        probe, of_states = fit_states(traces, unsafe, fold)
        words, of_words = fit_words(traces, unsafe, fold)
        entropy, of_entropy = fit_entropy(traces, of_words, unsafe, fold)
    except InsufficientData as e:
        raise SettingsError(str(e), remedy="examples of both kinds to more prompts") from e
    calibrations = {}
    for reader, scores in ((STATES, of_states), (WORDS, of_words), (ENTROPY, of_entropy)):
        peaks = [np.nanmax(s) if np.isfinite(s).any() else np.nan for s in scores]
        calibrations[reader] = Calibration(
            np.array(peaks, np.float32), unsafe, fold, group.astype(np.int32)
        )
    return {"probe": probe, "words": words, "entropy": entropy, "calibrations": calibrations}


def fit_states(
    traces: Sequence[Trace], unsafe: np.ndarray, fold: np.ndarray
) -> tuple[Probe, list[np.ndarray]]:
    """The mean of z-scores of two linear probes: of tokens of the middle one of the layers, and of
    running means (prefixes) of all of them; with scores out of fold."""
    layers = tuple(sorted(traces[0].hidden))
    states = [
        np.concatenate([t.hidden[n] for n in layers], axis=1).astype(np.float32) for t in traces
    ]
    probes = [_states_probe([states[i] for i in at], unsafe[at], layers) for at in _others(fold)]
    scores = [probes[k].read(s) for k, s in zip(fold, states, strict=True)]
    weight = torch.stack([p.weight for p in probes]).mean(0)
    return Probe(layers, weight, float(np.mean([p.bias for p in probes]))), scores


def fit_words(
    traces: Sequence[Trace], unsafe: np.ndarray, fold: np.ndarray
) -> tuple[Words, list[np.ndarray]]:
    """With scores out of fold."""
    answers = [Generation(t) for t in traces]
    fitted = [Words().fit([answers[i] for i in at], unsafe[at]) for at in _others(fold)]
    scores = [fitted[k].score(g) for k, g in zip(fold, answers, strict=True)]
    weight = np.mean([w.model for w in fitted], axis=0, dtype=np.float32)
    return replace(Words(), model=weight), scores


def fit_entropy(
    traces: Sequence[Trace], words: Sequence[np.ndarray], unsafe: np.ndarray, fold: np.ndarray
) -> tuple[float, list[np.ndarray]]:
    """What is added to the words' score: a weight times the mean entropy of the most likely tokens.

    The weight is learned from the words' scores out of fold; with scores out of fold.
    """
    entropy = [Mean().add(of_top(top_only(t))) for t in traces]
    both = [
        np.nan_to_num(np.column_stack(parts))[np.array(checkpoints(len(parts[0]), PREFIXES)) - 1]
        for parts in zip(words, entropy, strict=True)
    ]
    weights = []
    for at in _others(fold):
        (of_words, of_entropy), _ = linear([both[i] for i in at], unsafe[at], 1.0, alike=True)
        weights.append(of_entropy / max(abs(of_words), 1e-6))
    scores = [w + weights[k] * e for k, w, e in zip(fold, words, entropy, strict=True)]
    return float(np.mean(weights)), scores


def _others(fold: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(fold != k) for k in range(FOLDS)]


def _states_probe(states: list[np.ndarray], unsafe: np.ndarray, layers: Sequence[int]) -> Probe:
    size = states[0].shape[1] // len(layers)
    at = slice(len(layers) // 2 * size, (len(layers) // 2 + 1) * size)
    draw = np.random.default_rng(0)
    tokens = [drawn_tokens(s[:, at], draw) for s in states]
    token = linear(tokens, unsafe, TOKEN_PENALTY, alike=False)
    prefix = linear([prefix_means(s) for s in states], unsafe, PREFIX_PENALTY, alike=True)
    of_prefix = _spread([s @ prefix[0] + prefix[1] for s in states])
    of_token = _spread([s[:, at] @ token[0] + token[1] for s in states])
    weight = prefix[0] / of_prefix
    weight[at] += token[0] / of_token
    bias = prefix[1] / of_prefix + token[1] / of_token
    return Probe(tuple(layers), torch.from_numpy(weight.astype(np.float32)), float(bias))


def _spread(logits: Sequence[np.ndarray]) -> float:
    """Standard deviation of their running means."""
    means = [np.cumsum(one) / np.arange(1, len(one) + 1) for one in logits]
    return float(np.concatenate(means).std()) or 1.0
