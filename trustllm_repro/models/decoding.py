"""Many prompts, one model: continuous batching over slots.

Prompts come sorted (models/prefixes.py). A row that has ended is given to the next prompt, so the
batch stays full; beginnings that prompts share are computed once. In float32 an answer does not
depend on what else is in the batch, except where two tokens tie to the last bits.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from trustllm_repro.models.base import Finish
from trustllm_repro.models.prefixes import Prompt
from trustllm_repro.models.slots import SlotCache

# Keys and values of so many shared beginnings are kept; prompts come in groups, so few are needed.
PREFIXES = 8
# Bounds the activations of one forward pass over prompts; beyond it larger passes gain nothing.
PREFILL_TOKENS = {"cpu": 2048, "cuda": 32768}


@dataclass
class Job:
    """One answer in the making."""

    prompt: Prompt
    limit: int
    temperature: float = 0.0
    seed: int = 0
    ids: list[int] = field(default_factory=list)

    @property
    def room(self) -> int:
        return self.limit - len(self.ids)


Done = tuple[Job, Finish]


class Decoder:
    """Runs jobs through a causal language model.

    Args:
        model: in evaluation mode; must take position_ids and past_key_values.
        ends: token ids that end an answer.
        batch_size: most rows at a time. cache_tokens: most tokens the cache holds, all rows
            together; long prompts then go in smaller batches.
        window: attention window of sliding layers, if there are any.
    """

    def __init__(
        self,
        model,
        ends: frozenset[int],
        pad: int,
        batch_size: int,
        cache_tokens: int,
        window: int | None = None,
    ) -> None:
        self.model, self.ends, self.pad = model, ends, pad
        self.batch_size, self.cache_tokens, self.window = batch_size, cache_tokens, window
        self.device = model.device
        self.prefill_tokens = PREFILL_TOKENS.get(self.device.type, 8192)
        self.rows: list[Job | None] = []
        self.cache: SlotCache | None = None
        self._prefixes: OrderedDict[tuple[int, ...], Cache] = OrderedDict()

    @torch.inference_mode()
    def run(self, jobs: Sequence[Job]) -> Iterator[list[Done]]:
        """Yield finished jobs, in the order they end."""
        queue = deque(jobs)
        self.rows, self.cache = [], None
        while queue or any(self.rows):
            busy = sum(r is not None for r in self.rows)
            if queue and len(self.rows) - busy >= len(self.rows) // 8:
                done = self._admit(queue)
            else:
                if busy <= 0.75 * len(self.rows):
                    self._resize(busy, 0)
                done = self._step()
            if done:
                yield done
        self.cache = None

    def _admit(self, queue: deque[Job]) -> list[Done]:
        """Give free rows to the next prompts."""
        active = [r for r in self.rows if r is not None]
        first = queue[0]
        longest = max([self._size(r) for r in active] + [len(first.prompt.tokens)])
        room = max([r.room for r in active] + [first.limit])
        fitting = max(1, self.cache_tokens // (longest + room))
        rows = max(min(self.batch_size, fitting, len(active) + len(queue)), len(active))
        new = [queue.popleft() for _ in range(rows - len(active))]
        if not new:  # no room beside long answers: go on until one ends
            return self._step()
        prefilled = [p for jobs in self._passes(new) for p in self._prefill(jobs)]
        longest = max(longest, *(len(j.prompt.tokens) for j in new))
        self._place(
            prefilled, rows, longest, max([r.room for r in active] + [j.limit for j in new])
        )
        logits = torch.cat([p[3] for p in prefilled])
        return self._advance([p[0] for p in prefilled], logits)

    def _passes(self, jobs: list[Job]) -> Iterator[list[Job]]:
        """Split new jobs into forward passes: one shared beginning each, of bounded size."""
        for _, group in groupby(jobs, key=lambda j: j.prompt.tokens[: j.prompt.prefix]):
            batch: list[Job] = []
            width = 0
            for job in group:
                width = max(width, len(job.prompt.tokens) - job.prompt.prefix)
                if batch and width * (len(batch) + 1) > self.prefill_tokens:
                    yield batch
                    batch, width = [], len(job.prompt.tokens) - job.prompt.prefix
                batch.append(job)
            yield batch

    def _prefill(self, jobs: list[Job]) -> Iterator[tuple[Job, Cache, tuple, torch.Tensor]]:
        """Read prompts; yields (job, cache, (its row, columns to copy), logits (1, vocabulary))."""
        shared = jobs[0].prompt.prefix
        width = max(len(j.prompt.tokens) for j in jobs) - shared
        if self.window and shared and shared + width > self.window:
            shared, width = 0, width + shared
        past = self._prefix(jobs[0].prompt.tokens[:shared], len(jobs)) if shared else DynamicCache()
        ids = torch.full((len(jobs), width), self.pad)
        mask = torch.zeros((len(jobs), shared + width), dtype=torch.long)
        mask[:, :shared] = 1
        for r, job in enumerate(jobs):
            tokens = job.prompt.tokens[shared:]
            ids[r, width - len(tokens) :] = torch.tensor(tokens)
            mask[r, shared + width - len(tokens) :] = 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
        out = self._forward(ids, mask, positions, past)
        for r, job in enumerate(jobs):
            size = len(job.prompt.tokens) - shared
            columns = (slice(0, shared), slice(shared + width - size, shared + width))
            yield job, out.past_key_values, (r, columns), out.logits[r : r + 1, -1]

    def _forward(self, ids, mask, positions, cache):
        to = self.device
        return self.model(
            input_ids=ids.to(to), attention_mask=mask.to(to), position_ids=positions.to(to),
            past_key_values=cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip

    def _prefix(self, tokens: tuple[int, ...], rows: int) -> Cache:
        """Cache of a shared beginning, one view of it per row."""
        if tokens not in self._prefixes:
            ids = torch.tensor([tokens])
            made = self._forward(
                ids, torch.ones_like(ids), torch.arange(len(tokens))[None], DynamicCache()
            )
            self._prefixes[tokens] = made.past_key_values
            if len(self._prefixes) > PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(tokens)
        return spread(self._prefixes[tokens], rows)

    def _size(self, job: Job) -> int:
        """Columns a running job occupies: its prompt and its tokens but the last, not yet read."""
        return len(job.prompt.tokens) + len(job.ids) - 1

    def _place(self, prefilled: list, rows: int, longest: int, room: int) -> None:
        """Copy what was read into free rows; make room first."""
        self._resize(rows, room, longest, like=prefilled[0][1])
        assert self.cache is not None
        free = [b for b, r in enumerate(self.rows) if r is None]
        for row, (job, cache, (source, columns), _) in zip(free, prefilled, strict=False):
            self.cache.put(row, cache, source, columns)
            self.rows[row] = job

    def _resize(self, rows: int, room: int, longest: int = 0, like: Cache | None = None) -> None:
        """Give the cache another number of rows, or move it, where that pays or must be."""
        keep = [b for b, r in enumerate(self.rows) if r is not None]
        active = [self.rows[b] for b in keep]
        longest = max([longest] + [self._size(r) for r in active])
        room = max([room] + [r.room for r in active])
        if self.cache is None:
            assert like is not None
            self.cache = SlotCache(like, rows, longest + room, longest)
        elif (
            rows != len(self.rows)
            or self.cache.length < longest
            or self.cache.length > 1.25 * longest + 32
            or self.cache.length + room > self.cache.capacity
        ):
            self.cache = self.cache.rebuilt(keep, rows, longest + room, longest)
        else:
            return
        self.rows = [*active, *[None] * (rows - len(active))]

    def _step(self) -> list[Done]:
        """One token for every running job."""
        cache = self.cache
        assert cache is not None
        last = [r.ids[-1] if r is not None else self.pad for r in self.rows]
        positions = (cache.length - cache.start)[:, None]
        out = self._forward(torch.tensor(last)[:, None], cache.mask(), positions, cache)
        rows = [b for b, r in enumerate(self.rows) if r is not None]
        return self._advance([self.rows[b] for b in rows], out.logits[rows, -1])

    def _advance(self, jobs: list[Job], logits: torch.Tensor) -> list[Done]:
        """Append the next token to each job; end those that are done and free their rows."""
        done: list[Done] = []
        for job, token in zip(jobs, pick(logits, jobs), strict=True):
            if token is None:
                done.append((job, Finish.NAN))
            elif token in self.ends:
                done.append((job, Finish.STOP))
            else:
                job.ids.append(token)
                if not job.room:
                    done.append((job, Finish.LENGTH))
        ended = {id(job) for job, _ in done}
        self.rows = [None if id(r) in ended else r for r in self.rows]
        return done


def spread(cache: Cache, rows: int) -> Cache:
    """A cache of one row, seen as one of several equal rows. Nothing is copied until it grows."""
    wide = DynamicCache()
    for layer in cache.layers:
        new = DynamicLayer()
        new.lazy_initialization(layer.keys, layer.values)
        new.keys = layer.keys.expand(rows, -1, -1, -1)
        new.values = layer.values.expand(rows, -1, -1, -1)
        wide.layers.append(new)
    return wide


def pick(logits: torch.Tensor, jobs: Sequence[Job]) -> list[int | None]:
    """Next token per row of logits (jobs, vocabulary); None where no logit is finite.

    Temperature 0 takes the best token. Above, the token of the largest share / noise with
    exponential noise, which draws from the softmax distribution (the Gumbel-max trick). The noise
    depends on the job's seed and the position only, and a change in the last bits of the logits
    hardly ever changes the draw, as it would with the inverse of the cumulative distribution.
    """
    logits = logits.float()
    best, tokens = logits.max(dim=-1)
    drawn = [i for i, j in enumerate(jobs) if j.temperature > 0]
    if drawn:
        scale = torch.tensor([[jobs[i].temperature] for i in drawn], device=logits.device)
        shares = torch.softmax(logits[drawn] / scale, dim=-1)
        tokens[drawn] = (shares / noise([jobs[i] for i in drawn], shares)).argmax(dim=-1)
    finite = torch.isfinite(best).tolist()
    return [t if ok else None for t, ok in zip(tokens.tolist(), finite, strict=True)]


def noise(jobs: Sequence[Job], like: torch.Tensor) -> torch.Tensor:
    """Exponential noise (jobs, vocabulary); float64 on the CPU, because its zeros would win."""
    out = torch.empty(like.shape, dtype=torch.float64)
    for row, job in zip(out.numpy(), jobs, strict=True):
        bits = np.random.Philox(key=job.seed, counter=len(job.ids) << 64)
        np.random.Generator(bits).standard_exponential(out=row)
    return out.to(like.device)
