"""Out-of-fold scores of monitors: every answer is scored by a monitor that saw no answer to its prompt."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from trustllm_repro.errors import SettingsError
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.generations.levels import LEVELS, STATES, mask
from trustllm_repro.online.monitors.base import InsufficientData, Monitor, Scores

FOLDS = 5
TOKENS = (16, 32, 64)
SHARES = {"18pct": 0.18, "25pct": 0.25, "half": 0.5}
# Digits of a score that count. Its last bits depend on how many threads summed it, and two answers
# that tie but for them would change places from run to run.
DIGITS = 6
CELL = ["model", "task"]
KEYS = [*CELL, "monitor", "access", "level", "permuted"]
SCORE_COLUMNS = [
    *KEYS, "case", "group", "fold", "unsafe", "disputed", "tokens", "score", "peak",
    *(f"at_{k}" for k in (*TOKENS, "half")), *(f"peak_{k}" for k in (*TOKENS, *SHARES)), "reason",
]  # fmt: skip
TOKEN_COLUMNS = [*CELL, "monitor", "case", "token", "score"]


def evaluate_monitors(
    monitors: Iterable[Monitor],
    generations: Iterable[Generation],
    permuted: bool = False,
    seed: int = 0,
    level: str = STATES.name,
) -> pd.DataFrame:
    """Scores of answers by monitors fitted to other prompts' answers; each model and task by itself.

    Args:
        generations: those without a label are left out.
        permuted: the placebo: labels are dealt anew to prompts before anything is fitted.
        seed: of the permutation and of the folds, of which all have both kinds of answers if they can.
        level: what of the model is seen; see generations.levels.

    Returns:
        A row per (model, task, monitor, case): model, task, monitor, access, level, permuted, case,
        group (digest of the prompt), fold, unsafe, disputed, tokens, score (after the whole answer),
        peak (largest), at_16, at_32, at_64, at_half (after so many tokens; of shorter answers the
        last), peak_16 ... peak_half (largest so far; 18pct and 25pct of the tokens, rounded up),
        reason (why a monitor has no scores, or "").

    Raises:
        SettingsError: two monitors of one name.
    """
    monitors, cells = list(monitors), {}
    if twice := [name for name, n in Counter(m.name for m in monitors).items() if n > 1]:
        raise SettingsError(f"two monitors are called {twice[0]!r}", remedy="give each a name")
    for g in generations:
        if g.unsafe is not None:
            cells.setdefault((g.model, g.task), []).append(g)
    made = [Evaluation(cell, permuted, seed, level) for cell in cells.values()]
    frames = [one.frame(m) for one in made for m in monitors]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=SCORE_COLUMNS)


@dataclass
class Evaluation:
    """Monitors on the labelled answers of one model to one task.

    Args:
        untrained: scores of monitors that learn nothing, by name and level; may be shared.
    """

    generations: Sequence[Generation]
    permuted: bool = False
    seed: int = 0
    level: str = STATES.name
    untrained: dict[tuple[str, str], Scores] = field(default_factory=dict)

    def __post_init__(self) -> None:
        group = np.array([g.group for g in self.generations], dtype=object)
        unsafe = np.array([bool(g.unsafe) for g in self.generations])
        disputed = np.array([g.disputed for g in self.generations])
        if self.permuted:
            order = permutation(group, self.seed)
            unsafe, disputed = unsafe[order], disputed[order]
        self.unsafe, self.disputed, self.group = unsafe, disputed, group
        self.fold = deal(group, unsafe, self.seed)
        if self.level != STATES.name:
            self.generations = [mask(g, LEVELS[self.level]) for g in self.generations]
        self.tokens = np.array([len(g.trace) for g in self.generations], dtype=int)
        self._scores: dict[str, Scores | str] = {}

    def scores(self, monitor: Monitor) -> Scores | str:
        """After each token of each answer; or why there are none."""
        if monitor.name not in self._scores:
            try:
                with threadpool_limits(1):  # small sums: a second thread costs more than it gains
                    found = [np.round(s, DIGITS) for s in self._found(monitor)]
            except InsufficientData as e:
                found = str(e)
            self._scores[monitor.name] = found
        return self._scores[monitor.name]

    def _found(self, monitor: Monitor) -> Scores:
        if why := LEVELS[self.level].why_not(monitor):
            raise InsufficientData(why)
        if not monitor.trained:
            key = (monitor.name, self.level)
            if key not in self.untrained:
                self.untrained[key] = monitor(self.generations)
            return self.untrained[key]
        of = [self.scores(m) for m in getattr(monitor, "members", ())]
        if lacking := [s for s in of if isinstance(s, str)]:
            raise InsufficientData(lacking[0])
        found: Scores = [np.zeros(0)] * len(self.generations)
        for k in np.unique(self.fold):
            held_out, others = np.flatnonzero(self.fold == k), np.flatnonzero(self.fold != k)
            if of:  # the members' own scores of the other folds, out of fold as well, are the scale
                scaled = monitor.scaled([[s[i] for i in others] for s in of])
                made = scaled.combine([[s[i] for i in held_out] for s in of])
            else:
                fitted = monitor.fit([self.generations[i] for i in others], self.unsafe[others])
                made = fitted([self.generations[i] for i in held_out])
            for i, s in zip(held_out, made, strict=True):
                found[i] = s
        return found

    def frame(self, monitor: Monitor) -> pd.DataFrame:
        """Rows of SCORE_COLUMNS."""
        scores, n = self.scores(monitor), self.tokens
        reason = scores if isinstance(scores, str) else ""
        table = _padded([np.full(k, np.nan) for k in n] if isinstance(scores, str) else scores)
        with np.errstate(invalid="ignore"):
            highest = np.fmax.accumulate(table, axis=1)
        rows = np.arange(len(n))

        def at(values: np.ndarray, tokens: Any) -> np.ndarray:
            found = values[rows, np.clip(np.minimum(tokens, n), 1, None) - 1]
            return np.where(n > 0, found, np.nan).astype(np.float32)

        parts = {name: np.ceil(share * n - 1e-9).astype(int) for name, share in SHARES.items()}
        first = self.generations[0]
        return pd.DataFrame(
            {
                "model": first.model, "task": first.task, "monitor": monitor.name,
                "access": str(monitor.access), "level": self.level, "permuted": self.permuted,
                "case": [g.case for g in self.generations], "group": list(map(digest, self.group)),
                "fold": self.fold, "unsafe": self.unsafe, "disputed": self.disputed, "tokens": n,
                "score": at(table, n), "peak": at(highest, n),
                **{f"at_{k}": at(table, k) for k in TOKENS}, "at_half": at(table, parts["half"]),
                **{f"peak_{k}": at(highest, k) for k in TOKENS},
                **{f"peak_{name}": at(highest, k) for name, k in parts.items()}, "reason": reason,
            }
        )  # fmt: skip

    def token_frame(self, monitor: Monitor) -> pd.DataFrame:
        """Rows of TOKEN_COLUMNS; none where there are no scores."""
        scores, first = self.scores(monitor), self.generations[0]
        if isinstance(scores, str):
            return pd.DataFrame(columns=TOKEN_COLUMNS)
        return pd.DataFrame(
            {
                "model": first.model, "task": first.task, "monitor": monitor.name,
                "case": np.repeat([g.case for g in self.generations], self.tokens),
                "token": np.concatenate([np.arange(1, n + 1) for n in self.tokens]).astype(np.int32),
                "score": np.concatenate(scores).astype(np.float32),
            }
        )  # fmt: skip


def _padded(scores: Scores) -> np.ndarray:
    """(answers, tokens), NaN beyond an answer's end."""
    n = np.array([len(s) for s in scores], dtype=int)
    table = np.full((len(n), max(int(n.max(initial=0)), 1)), np.nan)
    table[np.arange(table.shape[1]) < n[:, None]] = np.concatenate([*scores, np.zeros(0)])
    return table


def deal(group: np.ndarray, unsafe: np.ndarray, seed: int) -> np.ndarray:
    """(answers,) number of the fold; answers to one prompt share it."""
    from sklearn.model_selection import StratifiedGroupKFold

    found, prompts = np.zeros(len(group), dtype=np.int32), np.unique(group, return_inverse=True)[1]
    kinds = np.bincount(unsafe.astype(int)).max(initial=0)
    folds = min(FOLDS, len(set(prompts.tolist())), int(kinds))
    if folds > 1:
        dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a kind that not all folds can have
            for k, (_, held_out) in enumerate(dealt.split(unsafe, unsafe, prompts)):
                found[held_out] = k
    return found


def permutation(group: np.ndarray, seed: int) -> np.ndarray:
    """Whose label each answer gets: prompts in another order, the answers of one together but shuffled.

    So labels of answers to one prompt stay about as alike as they were.
    """
    draw, prompts = np.random.default_rng(seed), np.unique(group, return_inverse=True)[1]
    new = draw.permutation(int(prompts.max(initial=-1)) + 1)
    found = np.empty(len(group), dtype=int)
    found[np.argsort(prompts, kind="stable")] = np.lexsort((draw.random(len(group)), new[prompts]))
    return found


def digest(group: str) -> str:
    """A prompt's own name, that does not hold its text."""
    return hashlib.sha256(group.encode("utf-8", "surrogatepass")).hexdigest()[:12]
