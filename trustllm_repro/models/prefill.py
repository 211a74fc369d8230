"""Reading prompts: which share a prefix, in what order, and forward passes over many of them.

Prompts of one task share their instructions; those tokens are computed once and their keys and
values copied, if enough prompts share them. Decoding starts here (models/decoding.py), and so does
scoring: the log-probability of given answers, the prompt read once for all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice, pairwise, takewhile
from typing import Any

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, DynamicCache

from trustllm_repro.models.caches import lent

# Keys and values of so many shared prefixes are kept; prompts come in groups, so few are needed.
PREFIXES = 8
# Most tokens of options in one forward pass: logits over the whole vocabulary are made for each,
# in SmolLM2 200 KB.
OPTION_TOKENS = {"cpu": 256, "cuda": 8192}
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


def _common(a: Tokens, b: Tokens) -> int:
    """Length of the common prefix."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def shared_prefixes(prompts: Sequence[Tokens], least: int, share: int = 16) -> list[int]:
    """For each prompt, the length of the longest prefix it shares with `share` - 1 others.

    0 where that is under `least` tokens. At least one token is always left over, because the
    model must read something to predict what follows.
    """
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    ordered = [prompts[i] for i in order]
    step = [_common(a, b) for a, b in pairwise(ordered)]
    depth = [0] * len(prompts)
    for first in range(len(ordered) - share + 1):
        low = min(step[first : first + share - 1])
        for at in range(first, first + share):
            depth[at] = max(depth[at], low)
    found = [0] * len(prompts)
    for at, i in enumerate(order):
        n = min(depth[at], len(prompts[i]) - 1)
        found[i] = n if n >= least else 0
    return found


def schedule(prompts: Sequence[Tokens], least: int, share: int = 16) -> list[Prompt]:
    """Prompts in the order to answer them: equal prefixes together, long ones first.

    Groups follow each other by their longest prompt, so the longest of all come first: if memory
    is short, that shows at once.
    """
    depth = shared_prefixes(prompts, least, share)
    made = [Prompt(i, tokens, depth[i]) for i, tokens in enumerate(prompts)]
    longest: dict[Tokens, int] = {}
    for p in made:
        longest[p.shared] = max(longest.get(p.shared, 0), len(p.tokens))
    return sorted(made, key=lambda p: (-longest[p.shared], p.shared, -len(p.tokens), p.index))


@dataclass(frozen=True)
class Pass:
    """What one forward pass over prompts left."""

    cache: Cache  # one row a prompt: the shared prefix, padding, the rest
    mask: torch.Tensor  # (prompts, columns), 1 where a column holds a token of the prompt
    logits: torch.Tensor  # (prompts, vocabulary), for the token after each prompt


class Reader:
    """Runs prompts through a causal language model.

    Args:
        model: in evaluation mode; must take position_ids and past_key_values.
        pad: any token id; padding is masked. pass_tokens: most of one forward pass over prompts.
        window: attention window of sliding layers, if there are any.
    """

    def __init__(self, model: Any, pad: int, pass_tokens: int, window: int | None = None) -> None:
        self.model, self.pad, self.pass_tokens, self.window = model, pad, pass_tokens, window
        self.device: torch.device = model.device
        _contiguous_head(model)
        self._prefix = lru_cache(PREFIXES)(self._read_prefix)

    def forward(self, ids, mask, positions, cache, keep: int = 1):
        """One call of the model; logits of the last `keep` positions (0: all)."""
        to = self.device
        return self.model(
            input_ids=ids.to(to), attention_mask=mask.to(to), position_ids=positions.to(to),
            past_key_values=cache, use_cache=True, logits_to_keep=keep,
        )  # fmt: skip

    def passes(self, prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
        """Split prompts into forward passes: one shared prefix each, of bounded size."""
        for _, group in groupby(prompts, key=lambda p: p.shared):
            batch: list[Prompt] = []
            width = 0
            for prompt in group:
                rest = len(prompt.tokens) - prompt.prefix
                if batch and max(width, rest) * (len(batch) + 1) > self.pass_tokens:
                    yield batch
                    batch, width = [], 0
                batch.append(prompt)
                width = max(width, rest)
            yield batch

    def read(self, prompts: Sequence[Prompt], beyond: int = 0) -> Pass:
        """One forward pass over prompts with the same shared prefix; `beyond` more tokens will be
        read after them over the same cache."""
        shared = prompts[0].prefix
        width = max(len(p.tokens) for p in prompts) - shared
        if self.window and shared + width + beyond > self.window:
            # Padding between prefix and rest would widen distances beyond the window.
            shared = 0
        start = prompts[0].tokens[:shared]
        past = copy.deepcopy(self._prefix(start)) if shared else DynamicCache()
        past.batch_repeat_interleave(len(prompts))
        rest = [torch.tensor(p.tokens[shared:]) for p in prompts]
        ids = pad_sequence(rest, True, self.pad, padding_side="left")
        mask = pad_sequence([torch.ones_like(r) for r in rest], True, padding_side="left")
        mask = pad(mask, (shared, 0), value=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
        out = self.forward(ids, mask, positions, past)
        return Pass(out.past_key_values, mask, out.logits[:, -1])

    def _read_prefix(self, tokens: Tokens) -> Cache:
        ids = torch.tensor([tokens])
        places = torch.arange(len(tokens))[None]
        return self.forward(ids, torch.ones_like(ids), places, DynamicCache()).past_key_values


def _contiguous_head(model: Any) -> None:
    """Hand hidden states to the output layer in one piece: cut out of a wider tensor, they make
    torch copy that layer's weights once a row (55 MB each for 135 M parameters in bfloat16)."""
    head = model.get_output_embeddings()
    if head is not None and not getattr(head, "_takes_one_piece", False):
        head.register_forward_pre_hook(lambda _, given: tuple(g.contiguous() for g in given))
        head._takes_one_piece = True


@torch.inference_mode()
def score_options(
    reader: Reader, prompts: Sequence[Prompt], options: Sequence[Sequence[Tokens]]
) -> Iterator[tuple[int, list[float]]]:
    """Yield (index of the prompt, summed log-probability in nats of each of its options).

    Args:
        prompts: in the order to read them; `options[p.index]` are those of prompt p.

    The first token of every option is read off the prompt's own pass; only what follows takes
    another, in which all options of all prompts of the pass go together over one cache.
    """
    for batch in reader.passes(prompts):
        asked = [(row, option) for row, p in enumerate(batch) for option in options[p.index]]
        longest = max((len(option) for _, option in asked), default=0)
        done = reader.read(batch, beyond=longest)
        first = torch.log_softmax(done.logits.float(), dim=-1)
        nats = [float(first[row, option[0]]) if option else 0.0 for row, option in asked]
        longer = [i for i, (_, option) in enumerate(asked) if len(option) > 1]
        size = max(1, OPTION_TOKENS.get(reader.device.type, 256) // max(longest - 1, 1))
        for some in (longer[k : k + size] for k in range(0, len(longer), size)):
            for i, rest in zip(some, _rest(reader, done, [asked[i] for i in some]), strict=True):
                nats[i] += rest
        del done  # its cache goes before the next pass makes another
        found = iter(nats)
        yield from ((p.index, list(islice(found, len(options[p.index])))) for p in batch)


def _rest(reader: Reader, done: Pass, asked: Sequence[tuple[int, Tokens]]) -> list[float]:
    """Nats of the second and later tokens of options, each after a row of a pass: one more pass."""
    # The last token is predicted, never read.
    ids, after = (
        pad_sequence([torch.tensor(option[part]) for _, option in asked], True, reader.pad)
        for part in (slice(-1), slice(1, None))
    )
    rows = torch.tensor([row for row, _ in asked])
    before = done.mask[rows]
    mask = torch.cat([before, torch.ones_like(ids)], dim=1)  # padding stands behind, so is unseen
    positions = before.sum(1, keepdim=True) + torch.arange(ids.shape[1])
    cache = lent(done.cache, rows.to(reader.device))
    logits = reader.forward(ids, mask, positions, cache, keep=0).logits
    chosen = logits.gather(2, after.to(logits.device)[..., None])[..., 0].float()
    nats = (chosen - logits.float().logsumexp(dim=-1)).tolist()
    return [sum(row[: len(option) - 1]) for row, (_, option) in zip(nats, asked, strict=True)]
