"""Models with random weights: what they say means nothing, but they take the time of real ones.

Nothing is downloaded. A model of a published shape, made on the device itself, is enough to measure
speed and memory.
"""

from __future__ import annotations

from itertools import islice, product
from string import ascii_letters
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from trustllm_repro.errors import SettingsError
from trustllm_repro.models.local import HeldModel, find_device, find_dtype
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


def byte_tokenizer(size: int = 0) -> PreTrainedTokenizerFast:
    """A token a byte, and three special ones, with a chat template.

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
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=end, pad_token=end, additional_special_tokens=others,
        chat_template=CHAT,
    )  # fmt: skip


def random_model(shape: str, dtype: str = "bfloat16", device: str = "auto") -> HeldModel:
    """A Llama of a shape in SHAPES. Every answer is as long as it may be.

    Raises:
        SettingsError: unknown shape, dtype or device.
    """
    if shape not in SHAPES:
        raise SettingsError(f"unknown shape {shape!r}", remedy=f"one of: {', '.join(SHAPES)}")
    place = find_device(device)
    config = LlamaConfig(**SHAPES[shape], bos_token_id=None, eos_token_id=None, pad_token_id=0)
    seeded = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=seeded), place, silence():
        torch.manual_seed(SEED)
        made = AutoModelForCausalLM.from_config(config, dtype=find_dtype(dtype, place))
    tokenizer = byte_tokenizer(config.vocab_size)
    found = HeldModel(made.eval().requires_grad_(False), tokenizer, f"random-{shape}")
    found.ends = frozenset()
    return found
