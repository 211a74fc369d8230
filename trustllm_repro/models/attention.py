"""Attention on the CPU where torch's own kernel wastes work: one new token, and half precision.

torch's kernel works on blocks of queries. With a single query, as in every step of decoding, it
spends six to eight times what the two matrix products need in bfloat16 (SmolLM2, 32 rows over 160
columns: 3.4 against 0.4 ms), and about twice as much on prompts. Besides, rows of a batch are of
different lengths: of a short row only the last columns of the cache need be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trustllm_repro.models.slots import GRAIN

NAME = "sdpa_cpu"
_HALF = (torch.bfloat16, torch.float16)
# Settings of some models that the products below do not know.
_SPECIAL = ("softcap", "s_aux", "position_bias")
ROWS = 8  # read together from the first column that any of them needs
Groups = Sequence[tuple[slice, int]]  # rows, and the first column they need
_needed: tuple[int, Groups] | None = None  # columns in all, groups; None: nothing is known


@contextmanager
def needed(starts: Sequence[int], columns: int) -> Iterator[None]:
    """While it lasts, decoding reads row b from column starts[b] on (of `columns` in all)."""
    global _needed
    at = range(0, len(starts), ROWS)
    # Whole grains, so that few shapes occur; see models.slots.
    firsts = [min(starts[k : k + ROWS]) // GRAIN * GRAIN for k in at]
    groups = [(slice(k, k + ROWS), first) for k, first in zip(at, firsts, strict=True)]
    _needed = (columns, groups)
    try:
        yield
    finally:
        _needed = None


def use_cpu_attention(model: Any) -> None:
    """Let a model on the CPU that uses torch's kernel use `attention`; no other is changed."""
    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in every layer.

    Args:
        query: (rows, heads, queries, size). key, value: (rows, key heads, columns, size).
        attention_mask: (rows, 1, queries, columns), True where a column counts.

    Returns:
        (rows, queries, heads, size), and no weights.
    """
    known = attention_mask is not None and attention_mask.dtype == torch.bool
    known = known and not any(more.get(name) is not None for name in _SPECIAL)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if known and query.shape[2] == 1:
        return _decode(query, key, value, attention_mask, scale), None
    if known and query.dtype in _HALF:
        return _read(query, key, value, attention_mask, scale), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
    )


def _decode(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    rows, heads, _, size = query.shape
    columns, groups = _needed or (0, ())
    if columns != key.shape[2]:
        return _one_query(query, key, value, mask, scale)
    out = torch.empty((rows, 1, heads, size), dtype=value.dtype)
    for some, first in groups:
        m = mask[some] if mask.shape[0] > 1 else mask
        out[some] = _one_query(
            query[some], key[some, :, first:], value[some, :, first:], m[..., first:], scale
        )
    return out


def _one_query(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    rows, heads, _, size = query.shape
    shared = key.shape[1]
    # Heads that share keys become columns of one product: (rows, shared, columns, heads / shared).
    turned = query.reshape(rows, shared, heads // shared, size).transpose(-1, -2)
    scores = torch.matmul(key, turned).transpose(-1, -2).float() * scale
    scores = scores.masked_fill_(~mask, torch.finfo(torch.float32).min)
    weights = torch.softmax(scores, dim=-1).to(value.dtype)
    return torch.matmul(weights, value).reshape(rows, 1, heads, size)


def _read(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    """Many queries in half precision: scores are rounded to it, sums over them are not."""
    rows, heads, queries, size = query.shape
    shared, columns = key.shape[1:3]
    together = query.reshape(rows, shared, heads // shared * queries, size)
    scores = torch.matmul(together, key.transpose(-1, -2)) * scale
    scores = scores.view(rows, shared, heads // shared, queries, columns)
    scores = scores.masked_fill_(~mask[:, :, None], torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1).view(rows, shared, -1, columns)
    out = torch.matmul(weights, value).view(rows, heads, queries, size)
    return out.transpose(1, 2).contiguous()
