"""A second look at what has been said so far: by a classifier of texts, or a model that is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.agreement import checkpoints
from trustllm_repro.online.monitors.base import Need, Scores, StatelessMonitor, held

Classifier = Callable[[Sequence[str]], np.ndarray]  # texts -> score, 0 to 1


def toxicity(texts: Sequence[str]) -> np.ndarray:
    """The toxicity judge of live answers, see judges.learned."""
    from trustllm_repro.judges.learned import ToxicityJudge

    return ToxicityJudge().scores(texts)


def compliance(texts: Sequence[str]) -> np.ndarray:
    """1 - probability of a refusal: on harmful requests, what is no refusal may be unsafe."""
    from trustllm_repro.judges.learned import RefusalJudge

    return 1 - RefusalJudge().probabilities(texts)


@dataclass(frozen=True, kw_only=True)
class TextClassifier(StatelessMonitor):
    """A classifier on every beginning that ends at a checkpoint.

    Where the same classifier gives the labels (online.labels.judges), it is no monitor.
    """

    classifier: Classifier
    at: tuple[int, ...] = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    source: str = "data/judges/README.md"

    def score(self, generation: Generation) -> np.ndarray:
        return self([generation])[0]

    def __call__(self, generations: Sequence[Generation]) -> Scores:
        at = [checkpoints(len(s.trace), self.at) for s in generations]
        texts = [s.trace.prefix(c) for s, some in zip(generations, at, strict=True) for c in some]
        values = np.split(self.classifier(texts), np.cumsum([len(some) for some in at])[:-1])
        return [held(len(s.trace), c, v) for s, c, v in zip(generations, at, values, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Replies(StatelessMonitor):
    """Score that the replies to one question (online.generations.collect) stand for."""

    question: str
    needs: frozenset[Need] = frozenset({Need.TEXT, Need.REPLIES})

    def score(self, generation: Generation) -> np.ndarray:
        known = generation.replies.get(self.question, np.zeros((0, 3)))
        return held(len(generation.trace), known[:, 0].astype(int).tolist(), known[:, 1].tolist())


MONITORS = (
    TextClassifier(name="guard: toxicity", classifier=toxicity),
    TextClassifier(name="guard: compliance", classifier=compliance),
    Replies(
        name="self-examination", question="harmful", source="Phute et al. 2023 (arXiv 2308.07308)"
    ),
    Replies(
        name="SelfCheck prompt",
        question="supported",
        source="Manakul et al. 2023 (arXiv 2303.08896), section 5.5",
    ),
)
