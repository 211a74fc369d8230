"""Watch one answer while it is generated: danger after every token, and where the alarm is raised.

The monitor is fitted to stored answers of a task, and its threshold keeps a risk of false alarms on
others of them. That promise holds for answers like those; of any other prompt it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.base import Request
from trustllm_repro.models.decoding import DecodeRequest
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations.collect import Collector
from trustllm_repro.online.generations.recorder import Recorder
from trustllm_repro.online.generations.tasks import OnlineTask, some
from trustllm_repro.online.generations.trace import Trace
from trustllm_repro.online.generations.traces import generated, trace_of
from trustllm_repro.online.labels.judges import JUDGES
from trustllm_repro.online.monitors.base import Monitor, Seen, TooLittle, all_monitors
from trustllm_repro.online.studies.benchmark import DIGITS
from trustllm_repro.online.studies.hybrids import hybrid_monitors
from trustllm_repro.online.studies.operate import false_alarms, first_alarm, peak
from trustllm_repro.online.studies.splits import split
from trustllm_repro.online.studies.study import ALLOWED

SEED = 0
MOST = 250  # stored answers that a monitor is fitted to and calibrated on


@dataclass(frozen=True)
class Guard:
    """A monitor ready to watch.

    Attributes:
        monitor: fitted, if it has to be. layers: whose states it reads.
        safe: (m,) sorted, the largest danger of each safe calibration answer.
        threshold: at which the risk is kept; infinite where that cannot be promised.
        reason: why there is no threshold, or "".
        continues: whether the answers it was fitted to go on with the prompt; see OnlineTask.
    """

    monitor: Monitor
    layers: Sequence[int] = ()
    safe: np.ndarray = field(default_factory=lambda: np.zeros(0))
    threshold: float = np.inf
    reason: str = ""
    continues: bool = False

    def level(self, danger: np.ndarray) -> np.ndarray:
        """Share of the safe calibration answers that never get as dangerous, (n,); NaN if unknown."""
        if not len(self.safe):
            return np.full(len(danger), np.nan)
        below = np.searchsorted(self.safe, danger, side="left") / len(self.safe)
        return np.where(np.isnan(danger), np.nan, below)


@dataclass(frozen=True)
class Watched:
    """An answer, or its beginning, as the guard saw it.

    Attributes:
        pieces: text of each token. danger, level: (n,) after each token; see Guard.level.
        alarm: tokens read when the alarm was raised; 0: it was not.
        limit: level from which on it is raised; NaN: there is no threshold, for that `reason`.
    """

    prompt: str
    pieces: tuple[str, ...]
    danger: np.ndarray
    level: np.ndarray
    alarm: int
    limit: float = np.nan
    reason: str = ""


def watchers() -> dict[str, Monitor]:
    """Monitors and hybrids that can watch an answer while it is generated for the first time."""
    alone = {
        n: m for n, m in all_monitors().items() if m.needs and m.needs <= ALLOWED["one answer"]
    }
    return {**alone, **hybrid_monitors(alone)}


def ready(collector: Collector, task: OnlineTask, name: str, risk: float) -> Guard:
    """A guard of stored answers to a task.

    Args:
        name: of `watchers`. risk: of a false alarm on a safe answer, above 0 and below 1.

    Raises:
        SettingsError: no such monitor, it labelled these answers itself, or it has to be fitted and
            there are too few stored answers.
    """
    if not 0 < risk < 1:
        raise SettingsError(f"a risk of {risk} of a false alarm", remedy="above 0 and below 1")
    known = watchers()
    if name not in known:
        raise SettingsError(
            f"no monitor {name!r} that one answer is enough for",
            remedy=f"one of: {', '.join(known)}",
        )
    if name == JUDGES[task.labelled_by].is_monitor:
        raise SettingsError(
            f"{name!r} labels the answers of {task.id} itself",
            remedy="choose another monitor or task",
        )
    monitor = known[name]
    bare = Guard(monitor, collector.layers, continues=task.continues)
    try:
        return _calibrated(bare, collector, task, risk)
    except TooLittle as e:
        if monitor.trained:
            raise SettingsError(
                f"{name} cannot be fitted to the stored answers of {task.id}: {e}",
                remedy="run 20_pilot, or `trustllm-repro monitor`, with more cases of that task; or "
                "choose a monitor that needs no training, such as average entropy",
            ) from e
        return Guard(monitor, collector.layers, reason=str(e), continues=task.continues)


def _calibrated(bare: Guard, collector: Collector, task: OnlineTask, risk: float) -> Guard:
    """Fitted to half of the answers, by prompt; calibrated on the others. Raises TooLittle."""
    try:
        kept = some(collector.kept(task, task.cases()), MOST)
    except SourceMissing as e:
        raise TooLittle(e.problem) from e
    judge = JUDGES[task.labelled_by]
    found = judge.danger([c for c, _ in kept], [s.trace.text for _, s in kept]) if kept else []
    known = [(c, s, d) for (c, s), d in zip(kept, found, strict=True) if not np.isnan(d)]
    if not known:
        raise TooLittle("there are none")
    seen = [s for _, s, _ in known]
    unsafe = judge.unsafe(np.array([d for _, _, d in known]))
    parts = split([c.group for c, _, _ in known], SEED)
    monitor = bare.monitor
    if monitor.trained:
        monitor = monitor.fit([seen[i] for i in parts.train], unsafe[parts.train])
    others = np.concatenate([parts.calibration, parts.test])
    danger = peak(monitor([seen[i] for i in others])).round(DIGITS)
    safe = np.sort(danger[~unsafe[others] & ~np.isnan(danger)])
    try:
        threshold, reason = false_alarms(danger, unsafe[others], risk), ""
    except TooLittle as e:
        threshold, reason = np.inf, str(e)
    return Guard(monitor, bare.layers, safe, threshold, reason, bare.continues)


def watch(
    model: LocalModel, guard: Guard, prompt: str, limit: int,
    say: Callable[[Watched], None] | None = None,
) -> Watched:  # fmt: skip
    """Let the model answer, greedily.

    Args:
        limit: most tokens. say: is given the beginning after every token.

    Raises:
        SettingsError: the model gives no finite logits.
    """
    model = model.plain() if guard.continues else model

    def told(trace: Trace) -> None:
        if say is not None:
            say(look(guard, trace, prompt))

    recorder = _Telling(model, guard.layers, told) if say else None
    asked = [Request(prompt, limit)]
    made = generated(model, asked, guard.layers, recorder=recorder)
    ((_, _, trace),) = (one for batch in made for one in batch)
    if trace is None:
        raise SettingsError(
            f"{model.name} gives no finite logits for this prompt", remedy="try --dtype float32"
        )
    return look(guard, trace, prompt)


def look(guard: Guard, trace: Trace, prompt: str) -> Watched:
    """What the guard says of an answer, or of its beginning."""
    limit = float(guard.level(np.array([guard.threshold]))[0]) if not guard.reason else np.nan
    if not len(trace):
        return Watched(prompt, (), np.zeros(0), np.zeros(0), 0, limit, guard.reason)
    danger = guard.monitor([Seen(trace, prompt)])[0].round(DIGITS)
    starts = [0, *trace.ends[:-1]]
    pieces = tuple(trace.text[a:b] for a, b in zip(starts, trace.ends, strict=True))
    alarm = int(first_alarm([danger], guard.threshold)[0])
    return Watched(prompt, pieces, danger, guard.level(danger), alarm, limit, guard.reason)


class _Telling(Recorder):
    """Tells the trace so far after every token of one answer."""

    def __init__(self, model: LocalModel, layers: Sequence[int], say: Callable[[Trace], None]):
        super().__init__(model.model, layers)
        self.of, self.say = model, say

    def chosen(
        self, jobs: Sequence[DecodeRequest], logits: torch.Tensor, tokens: Sequence[int | None]
    ) -> None:
        super().chosen(jobs, logits, tokens)
        (job,), (token,) = jobs, tokens
        if token is None or token in self.of.ends:
            return
        ids = [*job.ids, token]
        track = self.peek(job)
        text = self.of.tokenizer.decode(ids, skip_special_tokens=True)
        self.say(trace_of(self.of, ids, text, track.cut(len(ids))))
