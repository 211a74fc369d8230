"""A real language model, tiny and random: two Llama layers and a byte tokenizer, made here.

It says nothing sensible, but everything that is said of models holds for it: it has weights in
safetensors, a tokenizer with a chat template, an end token, and answers that depend on its input.
"""

from __future__ import annotations

from pathlib import Path

SPECIAL = ("<|end|>", "<|user|>", "<|assistant|>")
CHAT = (
    "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_tokenizer(chat: bool = True, pad: bool = True):
    """A token a byte, and three special ones; 259 entries."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(known)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    end, *others = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=end, pad_token=end if pad else None,
        additional_special_tokens=others, chat_template=CHAT if chat else None,
    )  # fmt: skip


def tiny_model(
    folder: Path,
    *,
    chat: bool = True,
    pad: bool = True,
    seed: int = 0,
    context: int = 512,
    window: int | None = None,
) -> Path:
    """Write a model folder. `window` makes it a Gemma 3 with sliding attention instead of a Llama."""
    import torch
    from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig

    tokenizer = tiny_tokenizer(chat, pad)
    torch.manual_seed(seed)
    shape = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": context, "eos_token_id": 0, "bos_token_id": None,
        "pad_token_id": 0 if pad else None, "head_dim": 8,
    }  # fmt: skip
    if window:
        config = Gemma3TextConfig(
            **shape, sliding_window=window, layer_types=["sliding_attention", "full_attention"]
        )
    else:
        config = LlamaConfig(**shape)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        # Wider weights than at the start of training, so that answers differ from each other.
        for p in model.parameters():
            if p.ndim == 2:
                p.normal_(0, 0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
