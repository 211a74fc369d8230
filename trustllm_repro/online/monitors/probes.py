"""What is learned from labelled answers: probes of hidden states, and a reader of words."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.monitors import running
from trustllm_repro.online.monitors.base import Access, Need, Scores, require_both_classes
from trustllm_repro.online.monitors.states import TOKENS, StateMonitor, once, states_of

MIDDLE, MIDDLES = (1 / 2,), (1 / 3, 1 / 2, 2 / 3)


@dataclass(frozen=True)
class TokenProbe(StateMonitor):
    """Logistic regression on tokens that carry the label of their answer; running mean of logits."""

    source: str = "Alain and Bengio 2016 (arXiv 1610.01644); arXiv 2606.10487"

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        from trustllm_repro.online.guard import fit

        rows = self.known_states(generations, TOKENS)
        return self._linear(rows, unsafe, fit.TOKEN_PENALTY, alike=False)

    def _linear(self, rows: Sequence[np.ndarray], unsafe: np.ndarray, penalty, alike) -> Any:
        from trustllm_repro.online.guard.fit import linear

        some = [i for i, r in enumerate(rows) if len(r)]
        require_both_classes(unsafe[some])
        return linear([rows[i] for i in some], unsafe[some], penalty, alike)

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        weight, bias = self.model
        return states @ weight + bias


@dataclass(frozen=True)
class PrefixProbe(TokenProbe):
    """The same on running means over prefixes of the answers: what stands after n tokens."""

    depths: tuple[float, ...] = MIDDLES

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        from trustllm_repro.online.guard import fit

        def means(trace: Trace) -> np.ndarray:
            states = states_of(trace, self.depths)
            states = states[np.isfinite(states).all(axis=1)]
            return fit.prefix_means(states) if len(states) else states

        rows = [once(g.trace, ("means", self.depths), means) for g in generations]
        return self._linear(rows, unsafe, fit.PREFIX_PENALTY, alike=True)


@dataclass(frozen=True)
class PromptProbe(TokenProbe):
    """A control: the prompt's last state alone, one score for the whole answer."""

    source: str = "Latent Sentinel (OpenReview tuFRx6Ww2n)"

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        rows = [states[:1] for states in self.known_states(generations)]
        return self._linear(rows, unsafe, 0.01, alike=False)

    def __call__(self, generations: Sequence[Generation]) -> Scores:
        return [np.full(len(s), s[0] if len(s) else 0.0) for s in super().__call__(generations)]


@dataclass(frozen=True)
class Saplma(StateMonitor):
    """Perceptron 256-128-64-1, ReLU, Adam, cross-entropy, 5 epochs, batches of 32.

    Trained on the last tokens of whole answers, as published; what it says of beginnings it was
    not taught. The score is the token's own.
    """

    name: str = "SAPLMA"
    source: str = "Azaria and Mitchell 2023 (arXiv 2304.13734)"
    statistic: Any = running.token
    epochs: int = 5

    def learn(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        known = self.known_states(generations)
        some = [i for i, states in enumerate(known) if len(states)]
        require_both_classes(unsafe[some])
        states = np.stack([known[i][-1] for i in some])
        network = MLPClassifier(
            (256, 128, 64), batch_size=min(32, len(some)), max_iter=self.epochs, random_state=0
        )
        with warnings.catch_warnings():
            # Five epochs are the published setting; that they are few is no news.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return make_pipeline(StandardScaler(), network).fit(states, unsafe[some])

    def token_scores(self, states: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(states)[:, 1]


@dataclass(frozen=True)
class Words:
    """Naive Bayes on words and word pairs: how much more often unsafe answers hold them."""

    name: str = "words"
    source: str = "Domingos and Pazzani 1997; as online.guard reads text"
    access: Access = Access.BLACK
    needs: frozenset[Need] = frozenset({Need.TEXT})
    trained: bool = True
    model: Any = None

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        from trustllm_repro.online.guard.fit import word_counts, words_probe

        require_both_classes(unsafe)
        counts = [once(g.trace, "words", lambda t: word_counts(t.text)) for g in generations]
        return replace(self, model=words_probe(counts, unsafe, np.arange(len(counts))))

    def __call__(self, generations: Sequence[Generation]) -> Scores:
        return [self.model.read(g.trace.text, g.trace.ends) for g in generations]


MONITORS = (
    TokenProbe("token probe", depths=MIDDLE),
    TokenProbe("token probe, last layer"),
    PrefixProbe("prefix probe"),
    PromptProbe("prompt probe"),
    Saplma(),
    Words(),
)
