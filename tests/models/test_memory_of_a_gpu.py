"""How much runs together on a GPU: what its free memory holds."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
from transformers import Gemma3Config, LlamaConfig

from tests.models.prompts import answers, requests
from trustllm_repro.models.local import MIN_TOKENS, LocalModel, bytes_per_token

GIB = 2**30


def test_keys_and_values_of_one_token() -> None:
    """Llama 2: 7B in half precision 0.5 MiB; 70B shares keys among eight heads."""
    large = LlamaConfig(hidden_size=8192, num_hidden_layers=80, num_attention_heads=64,
                        num_key_value_heads=8, head_dim=128)  # fmt: skip
    assert bytes_per_token(LlamaConfig(), 2) == 2**19
    assert bytes_per_token(large, 2) == 2 * 80 * 8 * 128 * 2
    assert bytes_per_token(Gemma3Config(), 4) > 0  # text and pictures: the text's


def test_what_a_free_memory_holds(tiny) -> None:
    model = LocalModel(tiny, device="cpu")
    model.cache_tokens = model.pass_tokens = 10**9
    model.fit_memory(LlamaConfig(), 64 * GIB)  # in float32, 1 MiB a token
    assert (model.cache_tokens, model.pass_tokens) == (32768, 8192)


def test_answers_are_the_same_with_little_memory(tiny) -> None:
    asked = requests(20)
    want = answers(LocalModel(tiny, device="cpu"), asked)
    short = LocalModel(tiny, device="cpu")
    short.fit_memory(short.model.config, 0)
    assert (short.cache_tokens, short.reader.pass_tokens) == (MIN_TOKENS, MIN_TOKENS)
    assert answers(short, asked) == want


def test_much_memory_does_not_widen_the_batch(tiny) -> None:
    model = LocalModel(tiny, device="cpu", batch_size=2)
    before = model.cache_tokens, model.reader.pass_tokens
    model.fit_memory(model.model.config, 10**15)
    del model.reader
    assert (model.cache_tokens, model.reader.pass_tokens) == before
