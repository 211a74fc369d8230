"""Scores of monitors, of answers to prompts they have seen no answer to; and a study's frames."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.online.generations.generation import INDEX, Generation, read_generations
from trustllm_repro.online.generations.levels import LEVELS, STATES, Level, mask
from trustllm_repro.online.monitors.base import InsufficientData, Monitor, by_name
from trustllm_repro.store.atomic import write_with

FOLDS = 5
# Parts of an answer: so many tokens, or a share of them, rounded up.
PARTS = {"16": 16, "32": 32, "64": 64, "18pct": 0.18, "25pct": 0.25, "half": 0.5}
AT = {f"at_{k}": k for k in ("16", "32", "64", "half")}
PEAKS = {f"peak_{k}": k for k in PARTS}
# Digits of a score that count. Its last bits depend on how many threads summed it, and two answers
# that tie but for them would change places from run to run.
DIGITS = 6
WORKERS = 4  # monitors fitted at a time, at most: each holds a table of states
CELL = ["model", "task"]
KEYS = [*CELL, "monitor", "access", "level", "permuted"]
# Of the frames of a study, by name.
COLUMNS = {
    "scores": [
        *KEYS, "case", "group", "fold", "unsafe", "disputed", "tokens", "score", "peak", *AT,
        *PEAKS, "reason",
    ],
    "token_scores": [*CELL, "monitor", "case", "token", "score"],
    "figures": [
        *KEYS, "labels", "metric", "risk", "value", "ci_low", "ci_high", "n", "unscored", "reason",
    ],
    "labels": [*CELL, "judge", "case", "score", "unsafe", "disputed"],
    "quality": [*CELL, "judge", "against", "n"],
    "pilot": [
        *CELL, "judge", "labels", "group", "detection", "unit", "prefix", "value", "ci_low",
        "ci_high", "n",
    ],
}  # fmt: skip
# Words that very many rows repeat.
_WORDS = (*KEYS[:-1], "judge", "metric", "labels", "group")


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
        permuted: the placebo: labels are permuted between prompts before anything is fitted.
        seed: of the permutation and of the folds, of which all have both kinds of answers if they can.
        level: what of the model is seen; see generations.levels.

    Returns:
        A row per (model, task, monitor, case): model, task, monitor, access, level, permuted, case,
        group (digest of the prompt), fold, unsafe, disputed, tokens, score (after the whole answer),
        peak (largest), at_16, at_32, at_64, at_half (after so many tokens; of shorter answers the
        last), peak_16 ... peak_half (largest so far; 18pct and 25pct of the tokens, rounded up),
        reason (why a monitor has no scores, or "").

    Raises SettingsError: two monitors of one name.
    """
    monitors, cells = by_name(monitors).values(), {}
    for g in generations:
        if g.unsafe is not None:
            cells.setdefault((g.model, g.task), []).append(g)
    made = [Evaluation(cell, LEVELS[level], seed) for cell in cells.values()]
    with threadpool_limits(1):
        frames = [one.frame(m, permuted) for one in made for m in monitors]
    return pd.concat(frames or [pd.DataFrame(columns=COLUMNS["scores"])], ignore_index=True)


def evaluate_task(
    generations: Sequence[Generation], monitors: Sequence[Monitor], level: Level
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `scores` and `token_scores` (see Study) of labelled answers of one model to one task.

    Scores are of real and of permuted labels, and, of monitors that see less exactly where less of
    the model is shown than at `level`, of that as well. Monitors are fitted side by side.
    """
    levels = list(LEVELS.values())
    shown = [
        (Evaluation(generations, less), [m for m in monitors if less == level or less.changes(m)])
        for less in levels[levels.index(level) :: -1]
    ]

    def fit(monitor: Monitor) -> None:
        """All fits of one monitor, in one thread: liblinear draws from a generator that threads share."""
        for evaluation, some in shown:
            for permuted in (False, True) if monitor in some else ():
                evaluation.scores(monitor, permuted)

    # Small sums: a second thread costs each more than it gains. The limit is set again in every
    # worker because OpenMP's holds for one thread only.
    pool = ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1), "", threadpool_limits, (1,))
    with threadpool_limits(1), pool:
        list(pool.map(fit, (m for m in monitors if not hasattr(m, "members"))))
        scores = [e.frame(m, p) for p in (False, True) for e, some in shown for m in some]
    tokens = [shown[0][0].token_frame(m) for m in monitors]
    return pd.concat(scores, ignore_index=True), pd.concat(tokens, ignore_index=True)


class Evaluation:
    """Monitors on the labelled answers of one model to one task; arguments as of `evaluate_monitors`.
    `answers`: what of the rows of `scores` no monitor changes, by whether labels are permuted."""

    def __init__(
        self, generations: Sequence[Generation], level: Level = STATES, seed: int = 0
    ) -> None:
        seen = [g if level == STATES else mask(g, level) for g in generations]
        self.generations, self.level = np.array(seen, dtype=object), level
        facts = ["model", "task", "case", "unsafe", "disputed"]
        real = pd.DataFrame(list(map(vars, generations)), columns=facts)
        texts = np.array([g.group for g in generations], dtype=object)
        prompts = np.unique(texts, return_inverse=True)[1]
        real = real.assign(level=level.name, group=list(map(digest, texts)))
        real["tokens"] = [len(g.trace) for g in generations]
        self.answers: dict[bool, pd.DataFrame] = {}
        for permuted in (False, True):
            order = permutation(prompts, seed) if permuted else slice(None)
            unsafe = real["unsafe"].to_numpy(bool)[order]
            self.answers[permuted] = real.assign(
                permuted=permuted, unsafe=unsafe, disputed=real["disputed"].to_numpy()[order],
                fold=deal(prompts, unsafe, seed),
            )  # fmt: skip
        self._scores: dict[tuple[str, bool], np.ndarray | str] = {}

    def scores(self, monitor: Monitor, permuted: bool = False) -> np.ndarray | str:
        """After each token, (tokens of all answers,), answer after answer; or why there are none."""
        key = monitor.name, permuted and monitor.trained
        if key not in self._scores:
            try:
                if why := self.level.why_not(monitor):
                    raise InsufficientData(why)
                self._scores[key] = np.round(self._found(monitor, permuted), DIGITS)
            except (InsufficientData, np.linalg.LinAlgError) as e:
                self._scores[key] = str(e)
        return self._scores[key]

    def _found(self, monitor: Monitor, permuted: bool) -> np.ndarray:
        if not monitor.trained:
            return np.concatenate(monitor(list(self.generations)))
        of = [self.scores(m, permuted) for m in getattr(monitor, "members", ())]
        if lacking := [s for s in of if isinstance(s, str)]:
            raise InsufficientData(lacking[0])
        unsafe, fold, n = (
            self.answers[permuted][c].to_numpy() for c in ("unsafe", "fold", "tokens")
        )
        fold_of_token = np.repeat(fold, n)
        found = np.zeros(len(fold_of_token))
        for k in np.unique(fold):
            others, here = fold != k, fold_of_token == k
            if of:  # the members' own scores of the other folds, out of fold as well, are the scale
                scaled = monitor.scaled([s[~here] for s in of])
                found[here] = scaled.combine([s[here] for s in of])
            else:
                fitted = monitor.fit(list(self.generations[others]), unsafe[others])
                found[here] = np.concatenate(fitted(list(self.generations[~others])))
        return found

    def frame(self, monitor: Monitor, permuted: bool = False) -> pd.DataFrame:
        """Rows of `scores`."""
        scores, answers = self.scores(monitor, permuted), self.answers[permuted]
        n, reason = answers["tokens"].to_numpy(), scores if isinstance(scores, str) else ""
        table = np.full((len(n), n.max(initial=1)), np.nan)  # NaN beyond an answer's end
        if not reason:
            table[np.arange(table.shape[1]) < n[:, None]] = scores
        highest = np.fmax.accumulate(table, axis=1)

        def at(values: np.ndarray, tokens: Any) -> np.ndarray:
            found = values[np.arange(len(n)), np.clip(np.minimum(tokens, n), 1, None) - 1]
            return np.where(n > 0, found, np.nan).astype(np.float32)

        ends = {k: np.ceil(p * n - 1e-9).astype(int) if p < 1 else p for k, p in PARTS.items()}
        return answers.assign(
            monitor=monitor.name, access=monitor.access, score=at(table, n),
            peak=at(highest, n), **{column: at(table, ends[k]) for column, k in AT.items()},
            **{column: at(highest, ends[k]) for column, k in PEAKS.items()}, reason=reason,
        )[COLUMNS["scores"]]  # fmt: skip

    def token_frame(self, monitor: Monitor) -> pd.DataFrame:
        """Rows of `token_scores`, labels as they are; none where there are no scores."""
        scores, answers = self.scores(monitor), self.answers[False]
        if isinstance(scores, str):
            return pd.DataFrame(columns=COLUMNS["token_scores"])
        rows = answers.loc[answers.index.repeat(answers["tokens"]), [*CELL, "case"]]
        token = (rows.groupby("case", sort=False).cumcount() + 1).astype(np.int32)
        rows = rows.assign(monitor=monitor.name, token=token, score=scores.astype(np.float32))
        return rows[COLUMNS["token_scores"]]


def deal(group: np.ndarray, unsafe: np.ndarray, seed: int) -> np.ndarray:
    """(answers,) number of the fold; answers to one prompt, (answers,) int from 0, share it."""
    from sklearn.model_selection import StratifiedGroupKFold

    found = np.zeros(len(group), dtype=np.int32)
    folds = min(FOLDS, len(set(group)), max(unsafe.sum(), (~unsafe).sum()))
    if folds > 1:
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a kind that not all folds can have
            for k, (_, held_out) in enumerate(split(unsafe, unsafe, group)):
                found[held_out] = k
    return found


def permutation(group: np.ndarray, seed: int) -> np.ndarray:
    """Whose label each answer gets: prompts in another order, the answers of one together but
    shuffled, so that labels of answers to one prompt stay about as alike as they were."""
    draw = np.random.default_rng(seed)
    new = draw.permutation(group.max() + 1)
    found = np.empty(len(group), dtype=int)
    found[np.argsort(group, kind="stable")] = np.lexsort((draw.random(len(group)), new[group]))
    return found


def digest(group: str) -> str:
    """A prompt's own name, that does not hold its text."""
    return hashlib.sha256(group.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True)
class Study:
    """The online part of a run folder; make one with `open_study`.

    Frames are read once, and empty where the run has no such file:

    * scores: a row per (model, task, monitor, level, permuted, case); see `evaluate_monitors`.
    * token_scores: model, task, monitor, case, token (from 1), score (float32); all of the model
      seen, labels as they are.
    * figures: see `online_figures`.
    * labels: model, task, judge, case, score, unsafe, disputed. quality: how good a judge is
      (online.labels.judges). pilot: how early it calls prefixes unsafe (studies.run.pilot).
    """

    path: Path

    scores = cached_property(lambda self: self._read("scores"))
    token_scores = cached_property(lambda self: self._read("token_scores"))
    figures = cached_property(lambda self: self._read("figures"))
    labels = cached_property(lambda self: self._read("labels"))
    quality = cached_property(lambda self: self._read("quality"))
    pilot = cached_property(lambda self: self._read("pilot"))

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(self.labels["task"]))

    def generations(self, task: str, model: str | None = None) -> list[Generation]:
        """Stored answers to a task, of one model or of all. Raises SourceMissing, SourceCorrupt."""
        folders = sorted(p.parent for p in self.path.glob(f"online/*/{task}/{INDEX}"))
        folders = [f for f in folders if model in (None, f.parent.name)]
        if not folders:
            raise SourceMissing(
                f"no stored answers to {task!r}{f' of {model}' if model else ''} in {self.path}",
                remedy=f"trustllm-repro monitor --task {task} --out {self.path}",
            )
        return [g for f in folders for g in read_generations(f)]

    def store(self, name: str, new: pd.DataFrame) -> Path:
        """Put rows into a frame's file; they replace those of the same models and tasks. Raises
        SourceCorrupt: the file there cannot be read; OutputError."""
        old = self._read(name)
        if len(old) and len(new):
            mine = pd.MultiIndex.from_frame(old[CELL].astype(str))
            cells = pd.MultiIndex.from_frame(new[CELL].astype(str).drop_duplicates())
            new = pd.concat([f for f in (old[~mine.isin(cells)], new) if len(f)])
        words = [c for c in _WORDS if c in new]
        frame = new.astype(dict.fromkeys(words, str)).astype(dict.fromkeys(words, "category"))
        return write_with(
            self._file(name), lambda p: frame.to_parquet(p, index=False, compression="zstd")
        )

    def _file(self, name: str) -> Path:
        return self.path / f"online_{name}.parquet"

    def _read(self, name: str) -> pd.DataFrame:
        path = self._file(name)
        if not path.exists():
            return pd.DataFrame(columns=COLUMNS[name])
        try:
            frame = pd.read_parquet(path)
            frame[CELL]
        except (ValueError, KeyError, OSError) as e:  # pyarrow's errors are among these
            raise SourceCorrupt(
                f"{path} cannot be read: {e}", remedy="delete it; the next run writes it again"
            ) from e
        return frame


def open_study(run_dir: str | Path) -> Study:
    """The study in a run folder, or in one with frames alone. Raises SourceMissing: none there."""
    path = Path(run_dir)
    if not any(path.glob("online_*.parquet")):
        raise SourceMissing(
            f"no online study in {path}",
            remedy=f"trustllm-repro monitor --model smollm2-135m --out {path}",
        )
    return Study(path)
