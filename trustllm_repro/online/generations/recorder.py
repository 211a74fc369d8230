"""Traces of answers while they are generated, and of texts that are given.

Nothing of the size of the vocabulary is kept, and of the hidden states only the declared layers, by
hooks. Both ways give the same numbers up to rounding: the same statistics of the same logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trustllm_repro.errors import SettingsError
from trustllm_repro.models.decoding import DecodeRequest
from trustllm_repro.online.generations.statistics import (
    TOP,
    Statistics,
    at_once,
    likeliest,
    statistics,
)

STEPS = 16
_NUMBERS = ("logp", "entropy", "top_ids", "top_logp")


def blocks_of(model: Any) -> Sequence[torch.nn.Module]:
    """The decoder's blocks, first to last.

    Raises:
        SettingsError: an architecture that keeps them elsewhere.
    """
    decoder = model.get_decoder()
    blocks = getattr(decoder, "layers", None)
    if blocks is None:
        raise SettingsError(
            f"{type(model).__name__} keeps its blocks where they are not looked for",
            remedy="record without hidden states: layers=()",
        )
    return blocks


def layer_numbers(model: Any, layers: Sequence[int]) -> tuple[int, ...]:
    """Layers counted from 1; -1 is the last block.

    Raises:
        SettingsError: a layer the model does not have.
    """
    if not layers:
        return ()
    depth = len(blocks_of(model))
    found = [n if n > 0 else depth + 1 + n for n in layers]
    for given, n in zip(layers, found, strict=True):
        if given == 0 or not 1 <= n <= depth:
            raise SettingsError(
                f"the model has no layer {given}", remedy=f"1 to {depth}, or -1 to -{depth}"
            )
    return tuple(dict.fromkeys(found))


class Hooks:
    """What the declared blocks put out in the last forward pass: layer -> (rows, columns, size)."""

    def __init__(self, model: Any, layers: Sequence[int]) -> None:
        self.model, self.layers = model, layer_numbers(model, layers)
        self.size = int(model.config.get_text_config().hidden_size)
        self.out: dict[int, torch.Tensor] = {}

    @contextmanager
    def __call__(self, last_only: bool = True) -> Iterator[dict[int, torch.Tensor]]:
        """Listen; with `last_only` only the last column is kept."""
        handles = []

        def listen(layer: int):
            def hook(module, args, output):
                states = output[0] if isinstance(output, tuple) else output
                self.out[layer] = states[:, -1:] if last_only else states

            return hook

        try:
            for n in self.layers:
                block = blocks_of(self.model)[n - 1]
                handles.append(block.register_forward_hook(listen(n)))
            yield self.out
        finally:
            for handle in handles:
                handle.remove()
            self.out = {}


def to_half(states: torch.Tensor) -> torch.Tensor:
    """float16, with what is beyond its range put to the range's end: some models have such states.

    Converted first: in bfloat16 the end of float16's range is rounded to a number beyond it.
    """
    most = torch.finfo(torch.float16).max
    return states.half().clamp(-most, most)


@dataclass
class Track:
    """Arrays of one answer in the making, filled row by row; see online.generations.trace.Trace."""

    logp: np.ndarray
    entropy: np.ndarray
    top_ids: np.ndarray
    top_logp: np.ndarray
    hidden: dict[int, np.ndarray]
    first_ids: np.ndarray
    first_logp: np.ndarray

    @classmethod
    def room(cls, n: int, k: int, layers: Sequence[int], size: int) -> Track:
        """For n tokens, k likeliest tokens each, and states of so many numbers."""
        return cls(
            np.empty(n, np.float32), np.empty(n, np.float32), np.empty((n, k), np.int32),
            np.empty((n, k), np.float32), {m: np.empty((n, size), np.float16) for m in layers},
            np.empty(0, np.int32), np.empty(0, np.float32),
        )  # fmt: skip

    def cut(self, n: int) -> Track:
        """The first n tokens, copied, so that the room for the others is given back."""
        return Track(
            self.logp[:n].copy(), self.entropy[:n].copy(), self.top_ids[:n].copy(),
            self.top_logp[:n].copy(), {k: v[:n].copy() for k, v in self.hidden.items()},
            self.first_ids, self.first_logp,
        )  # fmt: skip


@dataclass(frozen=True)
class _Step:
    """What one step left on the model's device: a row of each tensor for every place.

    Attributes:
        places: tracks, and which of their tokens it was.
        begun: tracks whose first token it was; first: ids and log-probabilities for them.
    """

    places: Sequence[tuple[Track, int]]
    states: dict[int, torch.Tensor]
    begun: Sequence[Track]
    first: Sequence[torch.Tensor]


class Recorder:
    """Watches a decoder (models.decoding.Watch): a track per running job.

    Use inside `with recorder.hooks():`; take each finished job's track with `take`. Numbers stay on
    the model's device until an answer ends or `steps` steps are over, because a GPU stands still
    while it is waited for. Logits of small batches wait for those of the next steps, because a few
    rows take as long as statistics.at_once rows; so no more than that of them are ever kept.
    """

    def __init__(
        self, model: Any, layers: Sequence[int] = (), k: int = TOP, steps: int = STEPS
    ) -> None:
        self.hooks, self.k, self.steps = Hooks(model, layers), k, steps
        self.tracks: dict[int, Track] = {}
        self._states: dict[int, list[torch.Tensor]] = {n: [] for n in self.hooks.layers}
        self._waiting: list[_Step] = []
        self._logits: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._known: list[Statistics] = []  # of the steps that wait, in order

    def started(self) -> None:
        """See Watch. What was passed before memory ran out belongs to no token any more."""
        for kept in self._states.values():
            kept.clear()

    def passed(self, rows: Sequence[int] | None = None) -> None:
        """See Watch."""
        for layer, states in self.hooks.out.items():
            last = states[:, -1] if rows is None else states[list(rows), -1]
            # Of a prompt the last token's alone are kept, not the memory of all of them.
            self._states[layer].append(last.clone() if states.shape[1] > 1 else last)

    def chosen(
        self, jobs: Sequence[DecodeRequest], logits: torch.Tensor, tokens: Sequence[int | None]
    ) -> None:
        """See Watch."""
        new = [row for row, job in enumerate(jobs) if not job.ids]
        for job in (jobs[row] for row in new):  # one that begins again gets new room
            k = min(self.k, logits.shape[1])
            self.tracks[job.prompt.index] = Track.room(
                job.limit, k, self.hooks.layers, self.hooks.size
            )
        tracks = [self.tracks[job.prompt.index] for job in jobs]
        taken = torch.tensor([t or 0 for t in tokens], device=logits.device)
        step = _Step(
            [(track, len(job.ids)) for track, job in zip(tracks, jobs, strict=True)],
            {n: torch.cat(s) if len(s) > 1 else s[0] for n, s in self._states.items()},
            [tracks[row] for row in new],
            likeliest(logits[new]) if new else (),
        )
        self._waiting.append(step)
        self.started()
        self._logits.append((logits, taken))
        if sum(len(x) for x, _ in self._logits) + len(jobs) > at_once(logits):
            self._reckon()
        if len(self._waiting) >= self.steps:
            self._copy()

    def take(self, job: DecodeRequest) -> Track:
        """Track of a job that has ended."""
        self._copy()
        return self.tracks.pop(job.prompt.index).cut(len(job.ids))

    def _reckon(self) -> None:
        """Statistics of the logits that wait."""
        one, *more = self._logits
        # A large batch is looked at as it is: a copy of it would take as long as its sums.
        logits, taken = map(torch.cat, zip(one, *more, strict=True)) if more else one
        self._logits.clear()
        self._known.append(statistics(logits, taken, self.k))

    def _copy(self) -> None:
        """Bring what waits into the tracks: one transfer a quantity, one assignment a track."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self._logits:
            self._reckon()
        known, self._known = self._known, []
        found = {n: _together([getattr(s, n) for s in known]) for n in _NUMBERS}
        states = {
            n: to_half(torch.cat([s.states[n] for s in waiting])).cpu().numpy()
            for n in self.hooks.layers
        }
        for track, at, rows in _by_track([p for s in waiting for p in s.places]):
            for name, values in found.items():
                getattr(track, name)[at] = values[rows]
            for layer, values in states.items():
                track.hidden[layer][at] = values[rows]
        for step in waiting:
            ids, logp = (t.cpu().numpy() for t in step.first) if step.begun else ((), ())
            for track, first_ids, first_logp in zip(step.begun, ids, logp, strict=True):
                track.first_ids, track.first_logp = first_ids.astype(np.int32), first_logp


def _together(parts: Sequence[torch.Tensor]) -> np.ndarray:
    return torch.cat(list(parts)).cpu().numpy()


def _by_track(
    places: Sequence[tuple[Track, int]],
) -> Iterator[tuple[Track, slice, list[int]]]:
    """Of each track, the tokens that follow each other, and the rows they stand in."""
    found: dict[int, tuple[Track, int, list[int]]] = {}
    for row, (track, at) in enumerate(places):
        found.setdefault(id(track), (track, at, []))[2].append(row)
    for track, first, rows in found.values():
        yield track, slice(first, first + len(rows)), rows
