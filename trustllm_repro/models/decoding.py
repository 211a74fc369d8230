"""Many prompts, one model: continuous batching over slots.

Prompts come sorted (models/prefill.py). A row that has ended is given to the next prompt, so the
batch stays full; prefixes that prompts share are computed once. In float32 an answer does not
depend on what else is in the batch, except where two tokens tie to the last bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from transformers.cache_utils import Cache

from trustllm_repro.models.base import Finish
from trustllm_repro.models.caches import SlotCache
from trustllm_repro.models.prefill import Prompt, Reader


@dataclass
class DecodeRequest:
    """One answer in the making."""

    prompt: Prompt
    limit: int
    temperature: float = 0.0
    seed: int = 0
    ids: list[int] = field(default_factory=list)

    @property
    def room(self) -> int:
        return self.limit - len(self.ids)


Done = tuple[DecodeRequest, Finish]
Warp = Callable[[None, torch.Tensor], torch.Tensor]  # see models.local.warper


class Watch(Protocol):
    """Sees every token being chosen. Never called for what no answer rests on."""

    def started(self) -> None:
        """A run begins; if one broke off when memory ran out, its last passes led to no token."""

    def passed(self, rows: Sequence[int] | None = None) -> None:
        """A forward pass is over; `rows` of it (None: all, in order) belong to the next tokens."""

    def chosen(
        self, requests: Sequence[DecodeRequest], logits: torch.Tensor, tokens: Sequence[int | None]
    ) -> None:
        """Logits (requests, vocabulary) and the tokens taken, which request.ids do not hold yet."""


# Columns beyond the longest row's need, so that not every new prompt moves the whole cache.
SLACK = 32


@dataclass(eq=False)
class Decoder:
    """Runs requests through a causal language model.

    Args:
        ends: token ids that end an answer.
        batch_size: most rows at a time. cache_tokens: most tokens the cache holds, all rows
            together; long prompts then go in smaller batches.
        watch: sees every token; it must not change the logits. warp: narrows draws; see `pick`.
    """

    reader: Reader
    ends: frozenset[int]
    batch_size: int
    cache_tokens: int
    watch: Watch | None = None
    warp: Warp | None = None
    rows: list[DecodeRequest | None] = field(init=False)
    cache: SlotCache | None = field(init=False)
    reserve: int = field(init=False)

    @torch.inference_mode()
    def run(self, requests: Sequence[DecodeRequest]) -> Iterator[list[Done]]:
        """Yield finished requests, in the order they end."""
        queue = deque(requests)
        self.rows, self.cache = [], None
        if self.watch:
            self.watch.started()
        most = max((len(j.prompt.tokens) + j.limit for j in requests), default=0) + SLACK
        self.reserve = min(self.cache_tokens, min(self.batch_size, len(requests)) * most)
        while queue or any(self.rows):
            busy = sum(r is not None for r in self.rows)
            if queue and len(self.rows) - busy >= len(self.rows) // 8:
                done = self._admit(queue)
            else:
                if busy <= 0.75 * len(self.rows):
                    self._resize(busy)
                done = self._step()
            if done:
                yield done
        self.cache = None

    def _admit(self, queue: deque[DecodeRequest]) -> list[Done]:
        """Give free rows to the next prompts."""
        active = [r for r in self.rows if r is not None]
        columns, room = _need([*active, queue[0]])
        fitting = max(1, self.cache_tokens // (columns + room + SLACK))
        rows = max(min(self.batch_size, fitting, len(active) + len(queue)), len(active))
        new = [queue.popleft() for _ in range(rows - len(active))]
        if not new:  # no room beside long answers: go on until one ends
            return self._step()
        requests = {r.prompt.index: r for r in new}
        ready: list[DecodeRequest] = []
        logits = []
        for batch in self.reader.passes(r.prompt for r in new):
            done = self.reader.read(batch)
            if self.watch:
                self.watch.passed()
            self._resize(rows, new, done.cache)
            free = (b for b, r in enumerate(self.rows) if r is None)
            for source, (prompt, row) in enumerate(zip(batch, free, strict=False)):
                self.rows[row] = requests[prompt.index]
                self.cache.put(row, done.cache, source, done.mask[source])
            ready += [requests[p.index] for p in batch]
            logits.append(done.logits)
            del done  # its cache goes before the next pass makes another
        return self._advance(ready, torch.cat(logits))

    def _resize(
        self, rows: int, new: Sequence[DecodeRequest] = (), like: Cache | None = None
    ) -> None:
        """Give the cache another number of rows, or move it, where that pays or must be."""
        keep = [b for b, r in enumerate(self.rows) if r is not None]
        active = [self.rows[b] for b in keep]
        columns, room = _need([*active, *new])
        if self.cache is None:
            self.cache = SlotCache(like, rows, columns + room + SLACK, columns, self.reserve)
        elif (
            rows != len(self.rows)
            or self.cache.length < columns
            or self.cache.length > 1.25 * columns + 32
            or self.cache.length + room > self.cache.capacity
        ):
            self.cache.rebuild(keep, rows, columns + room + SLACK, columns)
        else:
            return
        self.rows = [*active, *[None] * (rows - len(active))]

    def _step(self) -> list[Done]:
        """One token for every running request."""
        cache = self.cache
        last = [r.ids[-1] if r is not None else self.reader.pad for r in self.rows]
        positions = (cache.length - cache.start)[:, None]
        out = self.reader.forward(torch.tensor(last)[:, None], cache.mask(), positions, cache)
        rows = [b for b, r in enumerate(self.rows) if r is not None]
        if self.watch:
            self.watch.passed(rows)
        return self._advance([self.rows[b] for b in rows], out.logits[rows, -1])

    def _advance(self, requests: list[DecodeRequest], logits: torch.Tensor) -> list[Done]:
        """Append the next token to each request; end those that are done and free their rows."""
        done: list[Done] = []
        tokens = pick(logits, requests, self.warp)
        if self.watch:
            self.watch.chosen(requests, logits, tokens)
        for request, token in zip(requests, tokens, strict=True):
            if token is None:
                finish = Finish.NAN
            elif token in self.ends:
                finish = Finish.STOP
            else:
                request.ids.append(token)
                finish = None if request.room else Finish.LENGTH
            if finish:
                done.append((request, finish))
                row = next(b for b, r in enumerate(self.rows) if r is request)
                self.rows[row] = None
                if finish is Finish.NAN:
                    self.cache.clear(row)
        return done


def _need(requests: Sequence[DecodeRequest]) -> tuple[int, int]:
    """Columns the longest of them occupies, its last token not yet read, and the most tokens that
    one of them may still get."""
    columns = [len(r.prompt.tokens) + max(len(r.ids) - 1, 0) for r in requests]
    return max(columns, default=0), max((r.room for r in requests), default=0)


def pick(
    logits: torch.Tensor, requests: Sequence[DecodeRequest], warp: Warp | None = None
) -> list[int | None]:
    """Next token per row of logits (requests, vocabulary); None where no logit is finite.

    Temperature 0 takes the best token. Above, the token of the largest share / noise with
    exponential noise, which draws from the softmax distribution (the Gumbel-max trick). The noise
    depends on the request's seed and the position only, and a change in the last bits of the logits
    hardly ever changes the draw, as it would with the inverse of the cumulative distribution.

    Args:
        warp: from logits over temperature to those that may be drawn from; None: all.
    """
    logits = logits.float()
    best, tokens = logits.max(dim=-1)
    drawn = [i for i, j in enumerate(requests) if j.temperature > 0]
    if drawn:
        scale = torch.tensor([[requests[i].temperature] for i in drawn], device=logits.device)
        scores = logits[drawn] / scale
        if warp:  # some refuse what is no number, and whole batches with it
            scores = warp(None, scores.where(torch.isfinite(best[drawn])[:, None], 0.0))
        shares = torch.softmax(scores, dim=-1)
        tokens[drawn] = (shares / noise([requests[i] for i in drawn], shares)).argmax(dim=-1)
    found = torch.where(torch.isfinite(best), tokens, -1).tolist()  # a GPU is waited for once
    return [t if t >= 0 else None for t in found]


def noise(requests: Sequence[DecodeRequest], like: torch.Tensor) -> torch.Tensor:
    """Exponential noise (requests, vocabulary); float64 on the CPU, because its zeros would win."""
    out = torch.empty(like.shape, dtype=torch.float64)
    for row, request in zip(out.numpy(), requests, strict=True):
        bits = np.random.Philox(key=request.seed, counter=len(request.ids) << 64)
        np.random.Generator(bits).standard_exponential(out=row)
    return out.to(like.device)
