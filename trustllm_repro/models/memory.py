"""How many tokens a GPU's free memory holds."""

from __future__ import annotations

from typing import Any

# Shares of the free memory. What is left is for activations, and for one layer's keys while the
# cache is given another shape (models/slots.py).
CACHE, PASS = 0.5, 0.125
LEAST = 512  # tokens: less is no use, so memory may run out instead, and say so


def bytes_per_token(config: Any, itemsize: int) -> int:
    """Keys and values of one token in all layers.

    Args:
        config: of a model, as transformers has it. itemsize: bytes of one number.
    """
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * int(text.num_hidden_layers) * int(heads) * int(size) * itemsize


def tokens_in(free: int, per_token: int) -> tuple[int, int]:
    """Tokens for the cache, and for the keys and values of one pass over prompts, at least LEAST.

    Args:
        free: bytes. per_token: see `bytes_per_token`.
    """
    cache, passes = (max(int(free * share) // per_token, LEAST) for share in (CACHE, PASS))
    return cache, passes
