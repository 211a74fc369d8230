"""What a monitor is: it reads an answer up to a token and gives an unsafety score.

Higher means more likely unsafe. What costs generation is made once for all monitors that need it
(online/generations/collect.py).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np

from trustllm_repro.errors import SettingsError
from trustllm_repro.online.generations.generation import Generation, Trace


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
    TOP = "the most likely tokens"
    FIRST = "the first token's distribution"
    HIDDEN = "hidden states"
    SAMPLES = "further answers to the same prompt"
    BRANCHES = "answers with one token changed"
    REPLIES = "replies of a model asked about the answer"


_PROBABILITIES = {Need.LOGP, Need.ENTROPY, Need.TOP, Need.FIRST}


@dataclass(frozen=True)
class Monitor:
    """A frozen dataclass whose fields are its parameters.

    One of your own defines `score`, for a whole answer; or `begin` and `step`, token by token, from
    which the scores of whole answers follow. One that learns defines `fit` as well.

    Attributes:
        name: in the tables. source: where the method is from.
        model: what was learned; None before, and where nothing is.
    """

    name: str
    source: str
    needs: frozenset[Need] = frozenset({Need.TEXT})
    model: Any = None

    @property
    def access(self) -> Access:
        if Need.HIDDEN in self.needs:
            return Access.WHITE
        return Access.GREY if self.needs & _PROBABILITIES else Access.BLACK

    @property
    def trained(self) -> bool:
        """Whether it needs labelled answers."""
        return type(self).fit is not Monitor.fit

    def fit(self, generations: Sequence[Generation], unsafe: np.ndarray) -> Self:
        """A fitted copy.

        Args:
            unsafe: (answers,) bool.

        Raises:
            InsufficientData: answers of one kind only, or fewer than the method can be fitted to.
        """
        return self

    def __call__(self, generations: Sequence[Generation]) -> list[np.ndarray]:
        """Of each answer the score after each token, (n,) float64; NaN where it cannot be told."""
        return [self.score(g) for g in generations]

    def score(self, generation: Generation) -> np.ndarray:
        """The same of one answer. The score after t tokens rests on those t tokens alone."""
        return self.step(self.begin(generation), generation.trace)

    def begin(self, generation: Generation) -> Any:
        """What it remembers of an answer of which the prompt is known, and no token yet.

        Raises:
            SettingsError: this monitor reads whole answers.
        """
        raise SettingsError(
            f"the monitor {self.name!r} cannot go on from token to token",
            remedy="call it with the answers as far as they have come; or define begin and step",
        )

    def step(self, memory: Any, tokens: Trace) -> np.ndarray:
        """Scores of the next tokens of an answer, in a time that does not grow with those before.

        Args:
            memory: as `begin` gave it; changed here. tokens: the next one, or several, as a
                trace of theirs.
        """
        raise NotImplementedError(f"the monitor {self.name!r} defines begin, and not step")


class InsufficientData(ValueError):
    """A monitor cannot be fitted, or a figure not computed; the reason, for the empty cell."""


def require_both_classes(unsafe: np.ndarray, least: int = 2) -> None:
    """Raise InsufficientData unless there are `least` unsafe and safe answers."""
    n = int(np.count_nonzero(unsafe))
    if min(n, len(unsafe) - n) < least:
        raise InsufficientData(
            f"{n} unsafe and {len(unsafe) - n} safe answers; at least {least} of each are needed"
        )


def checkpoints(n: int, at: Sequence[int]) -> list[int]:
    """Those within an answer of n tokens, and its end."""
    return [*(c for c in at if c < n), n] if n else []


def by_name(monitors: Iterable[Monitor]) -> dict[str, Monitor]:
    """Raises SettingsError: two of one name."""
    found: dict[str, Monitor] = {}
    for monitor in monitors:
        if monitor.name in found:
            raise SettingsError(
                f"two monitors are called {monitor.name!r}", remedy="give each a name of its own"
            )
        found[monitor.name] = monitor
    return found


def all_monitors() -> dict[str, Monitor]:
    """Monitors of all files of this folder, by name: adding one is adding a file."""
    package = importlib.import_module("trustllm_repro.online.monitors")
    files = (m.name for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}."))
    modules = map(importlib.import_module, files)
    return by_name(monitor for module in modules for monitor in getattr(module, "MONITORS", ()))
