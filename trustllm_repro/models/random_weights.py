"""Models with random weights: what they say means nothing, but they take the time of real ones.

Nothing is downloaded. A model of a published shape, made on the device itself, is enough to measure
speed and memory; a tiny one serves the tests.
"""

from __future__ import annotations

from itertools import islice, product
from string import ascii_letters
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from trustllm_repro.errors import SettingsError
from trustllm_repro.models.local import LocalModel
from trustllm_repro.models.silence import silence

# Llama-2-7B: Touvron et al. 2023 (arXiv 2307.09288) and the config.json of its release.
SHAPES: dict[str, dict[str, Any]] = {
    "7b": {
        "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
    },
    "tiny": {
        "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    },
}  # fmt: skip
SEED = 0
CHAT = (
    "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<|end|>", "<|user|>", "<|assistant|>")


def byte_tokenizer(chat: bool = True, pad: bool = True, size: int = 0) -> PreTrainedTokenizerFast:
    """A token a byte, and three special ones.

    Args:
        size: so many entries in all; those beyond the bytes are three letters each. Texts are never
            written with them, but a model may say them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    known = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    more = map("".join, product(ascii_letters, repeat=3))
    known += islice(more, max(size - len(known), 0))
    raw = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(known)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    end, *others = SPECIAL
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=end, pad_token=end if pad else None,
        additional_special_tokens=others,
    )  # fmt: skip
    tokenizer.chat_template = CHAT if chat else None
    return tokenizer


def random_llama(shape: str, dtype: torch.dtype, device: torch.device) -> Any:
    """A Llama with random weights, made on the device, in evaluation mode. It has no end token.

    Raises:
        SettingsError: a shape that is not in SHAPES.
    """
    config = LlamaConfig(**_shape(shape), bos_token_id=None, eos_token_id=None, pad_token_id=0)
    seeded = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=seeded), torch.device(device), silence():
        torch.manual_seed(SEED)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval().requires_grad_(False)


def _shape(name: str) -> dict[str, Any]:
    if name not in SHAPES:
        raise SettingsError(f"unknown shape {name!r}", remedy=f"one of: {', '.join(SHAPES)}")
    return SHAPES[name]


class RandomModel(LocalModel):
    """A model of a shape in SHAPES. Every answer is as long as it may be.

    Args:
        dtype, device, batch_size: as of LocalModel.

    Raises:
        SettingsError: unknown shape, dtype or device.
    """

    ends = frozenset()

    def __init__(
        self, shape: str, dtype: str = "bfloat16", device: str = "auto", batch_size: int = 0
    ) -> None:
        self.shape, self.name = shape, f"random-{shape}"
        self.tokenizer = byte_tokenizer(size=_shape(shape)["vocab_size"])
        self._settle(dtype, device, batch_size)
        name = str(self.dtype).removeprefix("torch.")
        self.identity = {"weights": f"random {shape} {SEED}", "dtype": name, "template": "chat"}

    def _load(self):
        return random_llama(self.shape, self.dtype, self.device)
