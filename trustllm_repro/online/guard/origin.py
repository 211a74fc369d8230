"""What a guard was fitted to, and in what a model at hand differs from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import torch

SAMPLE = 64  # numbers taken of every tensor


@dataclass(frozen=True)
class Origin:
    """The model whose states a guard learned from; model, tokenizer and template are digests."""

    spec: str  # what it was called by, see models.find.FORMS; "" for one held in memory
    name: str
    model: str
    tokenizer: str
    template: str
    dtype: str  # such as "bfloat16"

    @classmethod
    def of(cls, model: torch.nn.Module, tokenizer: Any, spec: str = "", name: str = "") -> Origin:
        """Digests of a model of transformers and its tokenizer.

        The model's covers names and shapes of all tensors and SAMPLE numbers of each, rounded to
        bfloat16: it is the same in every dtype, and another after training or merging.
        """
        vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=True)
        template = str(tokenizer.chat_template or "")
        dtype = str(model.dtype).removeprefix("torch.")
        return cls(spec, name, _sampled(model), _sha256(vocabulary), _sha256(template), dtype)

    def differences(self, other: Origin) -> list[str]:
        """In words, what of `other` is not as it was; [] if all is."""
        now, then = asdict(other), asdict(self)
        return [
            f"{what} ({now[key][:12] or 'none'} instead of {then[key][:12] or 'none'})"
            for key, what in _WHAT.items()
            if now[key] != then[key]
        ]


_WHAT = {
    "model": "the weights",
    "tokenizer": "the tokenizer's vocabulary",
    "template": "the chat template",
    "dtype": "the dtype",
}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@torch.no_grad()
def _sampled(model: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(_tensors(model).items()):
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(flat.numel() // SAMPLE, 1)][:SAMPLE]
        found.update(f"{name} {tuple(tensor.shape)}\n".encode())
        found.update(some.float().bfloat16().cpu().view(torch.int16).numpy().tobytes())
    return found.hexdigest()


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters by name, those of layers packed for the CPU as they were (models.linear)."""
    head = model.get_output_embeddings() if model.config.tie_word_embeddings else None
    found: dict[str, torch.Tensor] = {}
    for prefix, module in model.named_modules():
        if module is head:
            continue
        own = dict(module.named_parameters(recurse=False))
        if (packed := getattr(module, "packed", None)) is not None:
            own = {"weight": packed.to_dense()}
            if module.bias is not None:
                own["bias"] = module.bias
        found.update({f"{prefix}.{name}": tensor for name, tensor in own.items()})
    return found
