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
from trustllm_repro.models.decoding import Job
from trustllm_repro.online.statistics import TOP, likeliest, statistics


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
    """float16, with what is beyond its range put to the range's end: some models have such states."""
    most = torch.finfo(torch.float16).max
    return states.clamp(-most, most).half()


@dataclass
class Track:
    """Arrays of one answer in the making, filled row by row; see online.trace.Trace."""

    logp: np.ndarray
    entropy: np.ndarray
    top_ids: np.ndarray
    top_logp: np.ndarray
    hidden: dict[int, np.ndarray]
    first_ids: np.ndarray
    first_logp: np.ndarray

    def cut(self, n: int) -> Track:
        """The first n tokens, copied, so that the room for the others is given back."""
        return Track(
            self.logp[:n].copy(), self.entropy[:n].copy(), self.top_ids[:n].copy(),
            self.top_logp[:n].copy(), {k: v[:n].copy() for k, v in self.hidden.items()},
            self.first_ids, self.first_logp,
        )  # fmt: skip


class Recorder:
    """Watches a decoder (models.decoding.Watch): a track per running job.

    Use inside `with recorder.hooks():`; take each finished job's track with `take`.
    """

    def __init__(self, model: Any, layers: Sequence[int] = (), k: int = TOP) -> None:
        self.hooks, self.k = Hooks(model, layers), k
        self.tracks: dict[int, Track] = {}
        self._states: dict[int, list[torch.Tensor]] = {n: [] for n in self.hooks.layers}

    def passed(self, rows: Sequence[int] | None = None) -> None:
        """See Watch."""
        for layer, states in self.hooks.out.items():
            last = states[:, -1] if rows is None else states[list(rows), -1]
            self._states[layer].append(to_half(last))

    def chosen(
        self, jobs: Sequence[Job], logits: torch.Tensor, tokens: Sequence[int | None]
    ) -> None:
        """See Watch."""
        self._begin([(row, job) for row, job in enumerate(jobs) if not job.ids], logits)
        taken = torch.tensor([t or 0 for t in tokens], device=logits.device)
        known = statistics(logits, taken, self.k)
        logp, entropy = known.logp.cpu().numpy(), known.entropy.cpu().numpy()
        top_ids, top_logp = known.top_ids.cpu().numpy(), known.top_logp.cpu().numpy()
        states = {n: torch.cat(s).cpu().numpy() for n, s in self._states.items()}
        for row, job in enumerate(jobs):
            track, at = self.tracks[job.prompt.index], len(job.ids)
            track.logp[at], track.entropy[at] = logp[row], entropy[row]
            track.top_ids[at], track.top_logp[at] = top_ids[row], top_logp[row]
            for layer, found in states.items():
                track.hidden[layer][at] = found[row]
        for kept in self._states.values():
            kept.clear()

    def _begin(self, new: Sequence[tuple[int, Job]], logits: torch.Tensor) -> None:
        """Room for answers that begin; one that begins again, in a smaller batch, gets new room."""
        if not new:
            return
        ids, logp = (t.cpu().numpy() for t in likeliest(logits[[row for row, _ in new]]))
        k, size = min(self.k, logits.shape[1]), self.hooks.size
        for (_, job), first_ids, first_logp in zip(new, ids, logp, strict=True):
            n = job.limit
            self.tracks[job.prompt.index] = Track(
                np.empty(n, np.float32), np.empty(n, np.float32), np.empty((n, k), np.int32),
                np.empty((n, k), np.float32),
                {layer: np.empty((n, size), np.float16) for layer in self.hooks.layers},
                first_ids.astype(np.int32), first_logp,
            )  # fmt: skip

    def take(self, job: Job) -> Track:
        """Track of a job that has ended."""
        return self.tracks.pop(job.prompt.index).cut(len(job.ids))
