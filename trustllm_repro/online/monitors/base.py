"""What a monitor is, and what several monitors share.

A monitor reads an answer up to a token and gives an unsafety score: higher means more likely unsafe.
It declares which access to the model it has and what it needs; whatever costs generation is made
once (online/generations/collect.py) and lent to all monitors that need it.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

import numpy as np

from trustllm_repro.online.generations.generation import Generation

Scores = list[np.ndarray]


class Access(StrEnum):
    """What of the model a monitor looks at."""

    WHITE = "white box"  # hidden states
    GREY = "grey box"  # probabilities
    BLACK = "black box"  # text only


class Need(StrEnum):
    """What a monitor reads of an answer."""

    TEXT = "text"
    LOGP = "probability of the tokens"
    ENTROPY = "entropy of all tokens' distributions"
    TOP = "the likeliest tokens"
    FIRST = "the first token's distribution"
    HIDDEN = "hidden states"
    SAMPLES = "further answers to the same prompt"
    BRANCHES = "answers with one token changed"
    REPLIES = "replies of a model asked about the answer"


class Monitor(Protocol):
    """A frozen dataclass whose fields are its parameters.

    Attributes:
        name: in the tables. source: where the method is from.
        trained: whether it needs labelled answers.
    """

    name: str
    source: str
    access: Access
    needs: frozenset[Need]
    trained: bool

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        """A fitted copy.

        Args:
            unsafe: (answers,) bool.

        Raises:
            InsufficientData: answers of one kind only, or fewer than the method can be fitted to.
        """
        ...

    def __call__(self, generations: Sequence[Generation]) -> Scores:
        """Score after each token of each answer, (n,) float64; NaN where it cannot be told.

        The score after t tokens rests on those t tokens alone.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class StatelessMonitor(ABC):
    """A monitor that learns nothing and scores every answer by itself, with `score`."""

    name: str
    source: str
    access: Access = Access.BLACK
    needs: frozenset[Need] = frozenset({Need.TEXT})
    trained: bool = False

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        return self

    @abstractmethod
    def score(self, generation: Generation) -> np.ndarray:
        """After each token, (n,)."""

    def __call__(self, generations: Sequence[Generation]) -> Scores:
        return [self.score(g) for g in generations]


class InsufficientData(ValueError):
    """A monitor cannot be fitted, or a figure not computed; the reason, for the empty cell."""


def require_both_classes(unsafe: np.ndarray, least: int = 2) -> None:
    """Raise InsufficientData unless there are `least` unsafe and safe answers."""
    n = int(np.count_nonzero(unsafe))
    if min(n, len(unsafe) - n) < least:
        raise InsufficientData(
            f"{n} unsafe and {len(unsafe) - n} safe answers; at least {least} of each are needed"
        )


def held(n: int, at: Sequence[int], values: Sequence[float]) -> np.ndarray:
    """Scores known at some numbers of tokens, held until the next; NaN before the first, (n,)."""
    scores = np.full(n, np.nan)
    for tokens, value in sorted(zip(at, values, strict=True)):
        scores[max(int(tokens), 1) - 1 :] = value
    return scores


def all_monitors() -> dict[str, Monitor]:
    """Monitors of all files of this folder, by name: adding one is adding a file."""
    package = __package__ or ""
    found: dict[str, Monitor] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules([_path_of(package)])):
        for monitor in getattr(importlib.import_module(f"{package}.{module}"), "MONITORS", ()):
            if monitor.name in found:
                raise ValueError(f"two monitors are called {monitor.name!r}")
            found[monitor.name] = monitor
    return found


def _path_of(package: str) -> str:
    return importlib.import_module(package).__path__[0]
