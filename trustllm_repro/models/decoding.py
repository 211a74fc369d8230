"""Many prompts, one model: reading prompts, continuous batching over slots, and scores of options.

Prompts of one task share their instructions; those tokens are computed once and their keys and
values copied, if enough prompts share them. A row that has ended is given to the next prompt, so
the batch stays full. In float32 an answer does not depend on what else is in the batch, except
where two tokens tie to the last bits. A layer's keys are (rows, heads, columns, head size).
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.cache_utils import LinearAttentionCacheLayerMixin as Recurrent

from trustllm_repro.errors import SettingsError
from trustllm_repro.models.base import Finish, Request

MIN_PREFIX = {"cpu": 24, "cuda": 512}  # tokens of a shared prefix worth a pass of its own
MIN_SHARERS = 16  # prompts that share it
PREFIXES = 8  # shared prefixes whose keys and values are kept; prompts come in groups
# Most tokens of options in one forward pass: each has logits over the vocabulary (SmolLM2: 200 KB).
OPTION_TOKENS = {"cpu": 256, "cuda": 8192}
SLACK = 32  # columns beyond the longest row's need, so that few new prompts move the whole cache
# Attention is shown columns up to a multiple of GRAIN, the last of them masked: kernels keep code
# and scratch memory for every shape they meet, which would otherwise be a new one at every step
# (300 MB after 100 steps in bfloat16).
GRAIN = 32
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """A prompt as tokens. `prefix` tokens of it are shared with at least one other prompt."""

    index: int
    tokens: Tokens
    prefix: int = 0

    @property
    def shared(self) -> Tokens:
        return self.tokens[: self.prefix]


def shared_prefixes(prompts: Sequence[Tokens], least: int, share: int) -> list[int]:
    """For each prompt, the length of the longest prefix it shares with `share` - 1 others; 0 if
    under `least` tokens. One token at least is left over: the model must read something to predict.
    """
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    found = [0] * len(prompts)
    for group in (order[k : k + share] for k in range(len(order) - share + 1)):
        # They are sorted: what the first and the last begin with, all do.
        first, last = prompts[group[0]], prompts[group[-1]]
        differ = (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
        common = next(differ, len(first))
        for i in group:
            found[i] = max(found[i], min(common, len(prompts[i]) - 1))
    return [n if n >= least else 0 for n in found]


def schedule(prompts: Sequence[Tokens], least: int, share: int = MIN_SHARERS) -> list[Prompt]:
    """Prompts in the order to answer them: equal prefixes together, the group of the longest prompt
    first: if memory is short, that shows at once."""
    depth = shared_prefixes(prompts, least, share)
    made = [Prompt(i, tokens, depth[i]) for i, tokens in enumerate(prompts)]
    longest: dict[Tokens, int] = {}
    for p in made:
        longest[p.shared] = max(longest.get(p.shared, 0), len(p.tokens))
    return sorted(made, key=lambda p: (-longest[p.shared], p.shared, -len(p.tokens), p.index))


# --- keys and values: slots that running answers share, and rows selected for one pass ------------


class SlotLayer(DynamicLayer):
    """One layer's buffers. `is_sliding` stays False: attention windows are applied by the mask."""

    def __init__(self, like: DynamicLayer, reserve: int) -> None:
        super().__init__()
        self.length, self.reserve = 0, reserve
        _, self.heads, _, self.size = like.keys.shape
        self.dtype, self.device, self.is_initialized = like.keys.dtype, like.keys.device, True
        self._store: torch.Tensor | None = None  # keys, then values, and room for more of both

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns in place; return views of what is filled, and some columns more."""
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        shown = self.shown(end)
        return self.keys[:, :, :shown], self.values[:, :, :shown]

    def shown(self, length: int) -> int:
        """Columns attention is shown when `length` of them are filled."""
        return min(-(-length // GRAIN) * GRAIN, self.keys.shape[2])

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.shown(self.length + query_length), 0

    def shape(self, rows: int, capacity: int, length: int) -> None:
        """Give keys and values a new shape; allocate only what is not there yet. All zeros, because
        a NaN would poison a weighted sum even where its weight is masked."""
        self.length = length
        shape = (2, rows, self.heads, capacity, self.size)
        cells = math.prod(shape)
        if self._store is None or len(self._store) < cells:
            self.keys = self.values = self._store = None  # gone before the larger one comes
            most = max(cells, 2 * self.reserve * self.heads * self.size)
            self._store = torch.empty(most, dtype=self.dtype, device=self.device)
        self.keys, self.values = self._store[:cells].view(shape).zero_()


class SlotCache(Cache):
    """A cache whose rows are slots: a finished answer's row is taken by the next prompt.

    All rows share one right end, `length`; row b holds its tokens in [start[b], length). Buffers
    are written in place, where the usual cache copies itself at every step. `like`: a cache of the
    same model. `reserve`: rows x capacity that may be needed later; a buffer that grows leaves a
    hole too small for the next one, and memory not yet written to costs nothing.
    """

    def __init__(
        self, like: Cache, rows: int, capacity: int, length: int, reserve: int = 0
    ) -> None:
        super().__init__(layers=[SlotLayer(layer, reserve) for layer in like.layers])
        for layer in self.layers:
            layer.shape(rows, capacity, length)
        self._count(rows, capacity)

    def _count(self, rows: int, capacity: int) -> None:
        """Empty rows."""
        self.rows, self.capacity, device = rows, capacity, self.layers[0].device
        self.start = torch.full((rows,), self.length, dtype=torch.long, device=device)
        self._columns = torch.arange(capacity, device=device)

    @property
    def length(self) -> int:
        return self.layers[0].length

    def put(self, row: int, other: Cache, source: int, mask: torch.Tensor) -> None:
        """Fill a row's end with the columns of one row of another cache that `mask` marks."""
        columns = mask.nonzero()[:, 0].to(self.start.device)
        at = slice(self.length - len(columns), self.length)
        for layer, given in zip(self.layers, other.layers, strict=True):
            layer.keys[row, :, at] = given.keys[source][:, columns]
            layer.values[row, :, at] = given.values[source][:, columns]
        self.start[row] = at.start

    def clear(self, row: int) -> None:
        """Zero what is not a number: the row's next prompt masks it, but 0 x NaN is NaN."""
        for layer in self.layers:
            layer.keys[row].zero_()
            layer.values[row].zero_()

    def rebuild(self, keep: Sequence[int], rows: int, capacity: int, length: int) -> None:
        """Another shape, in which the rows `keep`, none longer than `length`, come first and end
        there. Buffers are used again: besides them only one layer is there a second time."""
        kept = torch.tensor(list(keep), dtype=torch.long, device=self.start.device)
        start, end = self.start[kept], self.length
        first = int(start.min()) if len(kept) else end
        for layer in self.layers:
            keys, values = (x[kept, :, first:end] for x in (layer.keys, layer.values))
            layer.shape(rows, capacity, length)
            layer.keys[: len(kept), :, length - (end - first) : length] = keys
            layer.values[: len(kept), :, length - (end - first) : length] = values
        self._count(rows, capacity)
        self.start[: len(kept)] = start + length - end

    def mask(self) -> torch.Tensor:
        """Which columns each row may see at the next step, the new one included."""
        columns = self._columns[None, : self.layers[0].shown(self.length + 1)]
        return (columns >= self.start[:, None]) & (columns <= self.length)


class SelectedLayer(DynamicLayer):
    """Rows of another cache's layer, any of them several times, for one forward pass; new columns
    are not kept. So no more than one layer is ever there for every row."""

    def __init__(self, layer: DynamicLayer, rows: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values, self.rows = layer.keys, layer.values, rows

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The selected rows and their new columns, side by side."""
        return (
            torch.cat([self.keys[self.rows], key_states], dim=2),
            torch.cat([self.values[self.rows], value_states], dim=2),
        )


# --- reading prompts, and options after them ------------------------------------------------------


class Reader:
    """Runs prompts through a causal language model in evaluation mode.

    `pad`: any token id; padding is masked. `pass_tokens`: most of one forward pass over prompts.
    `window`: attention window of sliding layers, if there are any.
    """

    def __init__(self, model: Any, pad: int, pass_tokens: int, window: int | None = None) -> None:
        self.model, self.pad, self.pass_tokens, self.window = model, pad, pass_tokens, window
        self.device: torch.device = model.device
        _contiguous_head(model)
        self._prefix = lru_cache(PREFIXES)(lambda tokens: self.read([Prompt(0, tokens)])[0])

    def forward(self, ids, mask, positions, cache, keep: int = 1):
        """One call of the model; logits of the last `keep` positions (0: all)."""
        to = self.device
        return self.model(
            input_ids=ids.to(to), attention_mask=mask.to(to), position_ids=positions.to(to),
            past_key_values=cache, use_cache=True, logits_to_keep=keep,
        )  # fmt: skip

    def schedule(self, prompts: Sequence[Tokens]) -> list[Prompt]:
        """See `schedule`; for prefixes that are worth a forward pass of their own."""
        return schedule(prompts, MIN_PREFIX.get(self.device.type, 512))

    def passes(self, prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
        """Split prompts into forward passes: one shared prefix each, of bounded size."""
        for _, group in groupby(prompts, key=lambda p: p.shared):
            batch, width = [], 0
            for prompt in group:
                rest = len(prompt.tokens) - prompt.prefix
                if batch and max(width, rest) * (len(batch) + 1) > self.pass_tokens:
                    yield batch
                    batch, width = [], 0
                batch.append(prompt)
                width = max(width, rest)
            yield batch

    def read(
        self, prompts: Sequence[Prompt], beyond: int = 0
    ) -> tuple[Cache, torch.Tensor, torch.Tensor]:
        """One forward pass over prompts with the same shared prefix; `beyond` more tokens will be
        read after them over the same cache.

        Returns the cache, a row a prompt: shared prefix, padding, the rest; a mask (prompts,
        columns), 1 where a column holds a token; logits (prompts, vocabulary) after each prompt.
        """
        shared = prompts[0].prefix
        width = max(len(p.tokens) for p in prompts) - shared
        if self.window and shared + width + beyond > self.window:
            # Padding between prefix and rest would widen distances beyond the window.
            shared = 0
        if foreseen := DynamicCache(config=self.model.config).layers:  # most configurations tell
            check_layers(self.model, foreseen)
        start = prompts[0].tokens[:shared]
        past = copy.deepcopy(self._prefix(start)) if shared else DynamicCache()
        past.batch_repeat_interleave(len(prompts))
        rest = [torch.tensor(p.tokens[shared:]) for p in prompts]
        ids = pad_sequence(rest, True, self.pad, padding_side="left")
        mask = pad_sequence([torch.ones_like(r) for r in rest], True, padding_side="left")
        mask = pad(mask, (shared, 0), value=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
        out = self.forward(ids, mask, positions, past)
        cache = getattr(out, "past_key_values", None)
        check_layers(self.model, getattr(cache, "layers", ()))
        return cache, mask, out.logits[:, -1]

    @torch.inference_mode()
    def score_options(
        self, prompts: Sequence[Prompt], options: Sequence[Sequence[Tokens]]
    ) -> Iterator[tuple[int, list[float]]]:
        """Yield (index of the prompt, summed log-probability in nats of each of its options).

        `options[p.index]` are those of prompt p. The first token of every option is read off the
        prompt's own pass; what follows takes another, in which all options of all prompts of the
        pass go together over one cache.
        """
        for batch in self.passes(prompts):
            asked = [(row, option) for row, p in enumerate(batch) for option in options[p.index]]
            longest = max((len(option) for _, option in asked), default=0)
            cache, mask, logits = self.read(batch, beyond=longest)
            first = torch.log_softmax(logits.float(), dim=-1)
            nats = [float(first[row, option[0]]) if option else 0.0 for row, option in asked]
            longer = [i for i, (_, option) in enumerate(asked) if len(option) > 1]
            size = max(1, OPTION_TOKENS.get(self.device.type, 256) // max(longest - 1, 1))
            for some in (longer[k : k + size] for k in range(0, len(longer), size)):
                rest = self._rest(cache, mask, [asked[i] for i in some])
                for i, added in zip(some, rest, strict=True):
                    nats[i] += added
            del cache  # before the next pass makes another
            found = iter(nats)
            yield from ((p.index, list(islice(found, len(options[p.index])))) for p in batch)

    def _rest(
        self, past: Cache, mask: torch.Tensor, asked: Sequence[tuple[int, Tokens]]
    ) -> list[float]:
        """Nats of the second and later tokens of options, each after a row of a pass."""
        # The last token is predicted, never read.
        ids, after = (
            pad_sequence([torch.tensor(option[part]) for _, option in asked], True, self.pad)
            for part in (slice(-1), slice(1, None))
        )
        rows = torch.tensor([row for row, _ in asked])
        before = mask[rows]
        mask = torch.cat([before, torch.ones_like(ids)], dim=1)  # padding is behind, so is unseen
        positions = before.sum(1, keepdim=True) + torch.arange(ids.shape[1])
        cache = Cache(layers=[SelectedLayer(layer, rows.to(self.device)) for layer in past.layers])
        logits = self.forward(ids, mask, positions, cache, keep=0).logits
        chosen = logits.gather(2, after.to(logits.device)[..., None])[..., 0].float()
        nats = (chosen - logits.float().logsumexp(dim=-1)).tolist()
        return [sum(row[: len(option) - 1]) for row, (_, option) in zip(nats, asked, strict=True)]


def check_layers(model: Any, layers: Sequence[Any]) -> None:
    """Raise SettingsError unless a cache of these layers holds keys and values of one size in each:
    rows of others cannot be moved here."""
    plain = [isinstance(x, DynamicLayer) and not isinstance(x, Recurrent) for x in layers]
    sizes = [(x.keys.shape, x.values.shape) for x in layers if getattr(x, "is_initialized", False)]
    if not plain or not all(plain) or any(keys != values for keys, values in sizes):
        raise SettingsError(
            f"{type(model).__name__} does not keep keys and values alike in every layer (it is "
            "recurrent, or compresses them)",
            remedy="serve it, for example with vLLM, and give its address",
        )


def _contiguous_head(model: Any) -> None:
    """Hand hidden states to the output layer in one piece: cut out of a wider tensor, they make
    torch copy that layer's weights once a row (55 MB each for 135 M parameters in bfloat16)."""
    head = model.get_output_embeddings()
    if head is not None and not getattr(head, "_takes_one_piece", False):
        head.register_forward_pre_hook(lambda _, given: tuple(g.contiguous() for g in given))
        head._takes_one_piece = True


# --- answers --------------------------------------------------------------------------------------


@dataclass(eq=False)
class DecodeRequest:
    """One answer in the making."""

    prompt: Prompt
    request: Request
    cut: int = 0  # tokens that were cut out of the prompt
    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None

    @property
    def room(self) -> int:
        return self.request.max_new_tokens - len(self.ids)


class Watch:
    """Sees every token being chosen, and does nothing with it here. Never called for what no answer
    rests on."""

    def started(self) -> None:
        """A run begins; if one broke off when memory ran out, its last passes led to no token."""

    def passed(self, rows: Sequence[int] | None = None) -> None:
        """A forward pass is over; `rows` of it (None: all, in order) belong to the next tokens."""

    def chosen(
        self, requests: Sequence[DecodeRequest], logits: torch.Tensor, tokens: Sequence[int | None]
    ) -> None:
        """Logits (requests, vocabulary) and the tokens taken, which request.ids do not hold yet."""


@dataclass(eq=False)
class Decoder:
    """Runs requests through a causal language model."""

    reader: Reader
    ends: frozenset[int]  # token ids that end an answer
    batch_size: int  # most rows at a time
    cache_tokens: int  # most that the cache holds; long prompts go in smaller batches
    watch: Watch = field(default_factory=Watch)  # must not change the logits
    warp: Callable | None = None  # narrows draws; see local.warper

    @torch.inference_mode()
    def run(self, requests: Sequence[DecodeRequest]) -> Iterator[list[DecodeRequest]]:
        """Yield finished requests, in the order they end."""
        queue = deque(requests)
        self.rows: list[DecodeRequest | None] = []
        self.cache: SlotCache | None = None
        self.watch.started()
        most = max((len(r.prompt.tokens) + r.room for r in requests), default=0) + SLACK
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

    def _admit(self, queue: deque[DecodeRequest]) -> list[DecodeRequest]:
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
            cache, mask, last = self.reader.read(batch)
            self.watch.passed()
            self._resize(rows, new, cache)
            free = (b for b, r in enumerate(self.rows) if r is None)
            for source, (prompt, row) in enumerate(zip(batch, free, strict=False)):
                self.rows[row] = requests[prompt.index]
                self.cache.put(row, cache, source, mask[source])
            ready += [requests[p.index] for p in batch]
            logits.append(last)
            del cache  # before the next pass makes another
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

    def _step(self) -> list[DecodeRequest]:
        """One token for every running request."""
        cache = self.cache
        last = [r.ids[-1] if r is not None else self.reader.pad for r in self.rows]
        positions = (cache.length - cache.start)[:, None]
        out = self.reader.forward(torch.tensor(last)[:, None], cache.mask(), positions, cache)
        rows = [b for b, r in enumerate(self.rows) if r is not None]
        self.watch.passed(rows)
        return self._advance([self.rows[b] for b in rows], out.logits[rows, -1])

    def _advance(self, requests: list[DecodeRequest], logits: torch.Tensor) -> list[DecodeRequest]:
        """Append the next token to each request; end those that are done and free their rows."""
        tokens = pick(logits, requests, self.warp)
        self.watch.chosen(requests, logits, tokens)
        for request, token in zip(requests, tokens, strict=True):
            if token is None:
                request.finish = Finish.NAN
                self.cache.clear(self.rows.index(request))
            elif token in self.ends:
                request.finish = Finish.STOP
            else:
                request.ids.append(token)
                request.finish = None if request.room else Finish.LENGTH
            if request.finish:
                self.rows[self.rows.index(request)] = None
        return [r for r in requests if r.finish]


def _need(requests: Sequence[DecodeRequest]) -> tuple[int, int]:
    """Columns the longest of them occupies, its last token not yet read, and the most tokens that
    one of them may still get."""
    columns = [len(r.prompt.tokens) + max(len(r.ids) - 1, 0) for r in requests]
    return max(columns, default=0), max((r.room for r in requests), default=0)


def pick(
    logits: torch.Tensor, jobs: Sequence[DecodeRequest], warp: Callable | None = None
) -> list[int | None]:
    """Next token per row of logits (jobs, vocabulary); None where no logit is finite.

    Temperature 0 takes the best token. Above, the token of the largest share / noise with
    exponential noise, which draws from the softmax distribution (the Gumbel-max trick). The noise
    depends on seed and position only, and a change in the last bits of the logits hardly ever
    changes the draw, as it would with the inverse of the cumulative distribution. `warp`: from
    logits over temperature to those that may be drawn from.
    """
    logits = logits.float()
    best, tokens = logits.max(dim=-1)
    drawn = [i for i, j in enumerate(jobs) if j.request.temperature > 0]
    if drawn:
        scale = torch.tensor([[jobs[i].request.temperature] for i in drawn], device=logits.device)
        scores = logits[drawn] / scale
        if warp:  # some refuse what is no number, and whole batches with it
            scores = warp(None, scores.where(torch.isfinite(best[drawn])[:, None], 0.0))
        shares = torch.softmax(scores, dim=-1)
        tokens[drawn] = (shares / noise([jobs[i] for i in drawn], shares)).argmax(dim=-1)
    found = torch.where(torch.isfinite(best), tokens, -1).tolist()  # a GPU is waited for once
    return [t if t >= 0 else None for t in found]


def noise(jobs: Sequence[DecodeRequest], like: torch.Tensor) -> torch.Tensor:
    """Exponential noise (jobs, vocabulary); float64 on the CPU, because its zeros would win."""
    out = torch.empty(like.shape, dtype=torch.float64)
    for row, job in zip(out.numpy(), jobs, strict=True):
        bits = np.random.Philox(key=job.request.seed, counter=len(job.ids) << 64)
        np.random.Generator(bits).standard_exponential(out=row)
    return out.to(like.device)
