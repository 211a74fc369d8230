"""Linear layers on the CPU with weights laid out for oneDNN once, and not at every call.

torch multiplies float32 by its BLAS, which on processors other than Intel's does not use their
widest registers, and bfloat16 by oneDNN, which turns the weights at every call. With weights in
oneDNN's own layout SmolLM2's products take 0.3 to 0.5 of the time in float32, and 0.5 to 0.8 in
bfloat16 for up to 32 rows. torch's compiler does the same to models it freezes.
"""

from __future__ import annotations

from typing import Any

import torch

# The layout that suits batches of decoding; passes over prompts are as quick with it.
ROWS = 32


class PackedLinear(torch.nn.Module):
    """`torch.nn.Linear` for inference: no gradients, and no weights in the usual layout."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        self.bias = None if layer.bias is None else layer.bias.detach()

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
    """Put packed layers in the place of a model's linear ones; leaves it alone where it cannot.

    The output layer keeps a second copy of its weights where it shares them with the embedding.
    """
    if model.device.type != "cpu" or not packs(model.dtype):
        return
    layers = [name for name, m in model.named_modules() if type(m) is torch.nn.Linear]
    for name in layers:
        layer = model.get_submodule(name)
        if layer.weight.dtype == model.dtype:
            model.set_submodule(name, PackedLinear(layer))
