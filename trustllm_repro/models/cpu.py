"""What makes a model fast on a CPU: attention and linear layers of its own.

Attention: torch's kernel works on blocks of queries. With a single query, as in every step of
decoding, it takes six to eight times as long as the two matrix products in bfloat16 (SmolLM2, 32
rows over 160 columns: 3.4 against 0.4 ms), and on prompts about twice as long. Besides, of a short
row only the last columns of the cache need be read.

Linear layers: torch's BLAS does not use the widest registers of processors other than Intel's in
float32, and oneDNN turns bfloat16 weights at every call. With weights in oneDNN's own layout (as
torch's compiler gives frozen models) SmolLM2's products take 0.3 to 0.5 of the time in float32, and
0.5 to 0.8 in bfloat16 for up to 32 rows.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trustllm_repro.models.decoding import GRAIN

ATTENTION = "sdpa_cpu"
_HALF = (torch.bfloat16, torch.float16)
# Settings of some models that the products below do not know.
_SPECIAL = ("softcap", "s_aux", "position_bias")
ROWS = 8  # read together from the first column that any of them needs
LAYOUT = 32  # rows the packed weights suit: decoding; passes over prompts are as quick with it


def use_cpu_attention(model: Any) -> None:
    """Let a model on the CPU that uses torch's kernel use `attention`; no other is changed."""
    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(ATTENTION, attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        model.set_attn_implementation(ATTENTION)


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
    """What transformers calls in every layer: (rows, queries, heads, size), and no weights.

    `query`: (rows, heads, queries, size). `key`, `value`: (rows, key heads, columns, size).
    `attention_mask`: (rows, 1, queries, columns), True where a column counts.
    """
    known = attention_mask is not None and attention_mask.dtype == torch.bool
    known = known and not any(more.get(name) is not None for name in _SPECIAL)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if known and query.shape[2] == 1:
        return _one_query(query, key, value, attention_mask, scale), None
    if known and query.dtype in _HALF:
        return _many_queries(query, key, value, attention_mask, scale), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
    )


def _one_query(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    rows, heads, _, size = query.shape
    shared = key.shape[1]
    if len(mask) != rows:
        mask = mask.expand(rows, -1, -1, -1)
    # Heads that share keys become columns of one product: (rows, shared, size, heads / shared).
    turned = query.reshape(rows, shared, heads // shared, size).transpose(-1, -2)
    out = torch.empty((rows, shared, heads // shared, size), dtype=value.dtype)
    for some, first in _groups(mask):
        scores = torch.matmul(key[some, :, first:], turned[some]).transpose(-1, -2).float() * scale
        scores.masked_fill_(~mask[some, ..., first:], torch.finfo(torch.float32).min)
        weights = torch.softmax(scores, dim=-1).to(value.dtype)
        out[some] = torch.matmul(weights, value[some, :, first:])
    return out.view(rows, 1, heads, size)


def _groups(mask: torch.Tensor) -> list[tuple[slice, int]]:
    """Rows, and the first column any of them sees; kept with the mask, which many layers share."""
    if not hasattr(mask, "groups"):
        starts = mask[:, 0, 0].int().argmax(dim=-1).tolist()
        at = range(0, len(starts), ROWS)
        # Whole grains, so that few shapes occur; see models.decoding.
        firsts = [min(starts[k : k + ROWS]) // GRAIN * GRAIN for k in at]
        groups = [(slice(k, k + ROWS), first) for k, first in zip(at, firsts, strict=True)]
        mask.groups = groups if any(firsts) else [(slice(None), 0)]
    return mask.groups


def _many_queries(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    """In half precision: scores are rounded to it, sums over them are not."""
    rows, heads, queries, size = query.shape
    shared, columns = key.shape[1:3]
    together = query.reshape(rows, shared, heads // shared * queries, size)
    scores = torch.matmul(together, key.transpose(-1, -2)) * scale
    scores = scores.view(rows, shared, heads // shared, queries, columns)
    scores = scores.masked_fill_(~mask[:, :, None], torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1).view(rows, shared, -1, columns)
    out = torch.matmul(weights, value).view(rows, heads, queries, size)
    return out.transpose(1, 2).contiguous()


class PackedLinear(torch.nn.Module):
    """`torch.nn.Linear` for inference: no gradients, and no weights in the usual layout."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, LAYOUT)
        self.bias = None if layer.bias is None else layer.bias.detach()

    @property
    def weight(self) -> torch.Tensor:
        """In the usual layout, (out_features, in_features); made anew."""
        return self.packed.to_dense()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in_features) -> (..., out_features)."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


def packs(dtype: torch.dtype) -> bool:
    """Whether this torch and this processor have oneDNN's products for `dtype`."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        if dtype is torch.bfloat16:
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return dtype is torch.float32 and _agrees()
    except (AttributeError, RuntimeError):  # another build of torch
        return False


def _agrees() -> bool:
    """One small product both ways: these operators are torch's own, not promised to its users."""
    layer = torch.nn.utils.skip_init(torch.nn.Linear, 24, 40)  # draws no random numbers
    for p in layer.parameters():
        p.data = torch.linspace(-1, 1, p.numel()).view_as(p)
    x = torch.linspace(-1, 1, 3 * 24).view(3, 24)
    return torch.allclose(PackedLinear(layer)(x), layer(x), atol=1e-5)


@torch.no_grad()
def pack_linears(model: Any) -> None:
    """Replace a model's linear layers by packed ones, where there are such products. The output
    layer keeps a second copy of its weights where it shares them with the embedding."""
    if model.device.type != "cpu" or not packs(model.dtype):
        return
    # Names alone are kept: a layer's usual weights go when it is replaced.
    for name in [name for name, m in model.named_modules() if type(m) is torch.nn.Linear]:
        layer = model.get_submodule(name)
        if layer.weight.dtype == model.dtype:
            model.set_submodule(name, PackedLinear(layer))
