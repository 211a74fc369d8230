"""Models of other families than those the package was written with: answered as transformers does,
watched token by token, or refused with the reason. Tiny and random."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.tiny import tiny_tokenizer
from trustllm_repro.errors import SettingsError
from trustllm_repro.models.base import Request
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations.recorder import given
from trustllm_repro.online.guard.guard import Guard
from trustllm_repro.online.guard.watch import GuardCriteria, Probe, Unwatched
from trustllm_repro.online.studies.run import Job, collector_of

GPT2 = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 256}
LLAMA = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
HEADS = {"head_dim": 8}
# Their blocks are called h, h, blocks, layers ...; the last three have experts, normalise after
# attention, or turn attention of some layers into a window.
KEPT = {
    "gpt2": GPT2,
    "falcon": {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4},
    "mpt": {"d_model": 32, "n_layers": 4, "n_heads": 4, "max_seq_len": 256},
    "gpt_neox": LLAMA,
    "mixtral": {**LLAMA, "num_local_experts": 8},
    "olmo2": LLAMA,
    "gemma3_text": {**LLAMA, **HEADS, "sliding_window": 16},
}
LATENT = {
    "num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 4, "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16,
}  # fmt: skip
LINEAR = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
RECURRENT = {
    "mamba": {"hidden_size": 32, "num_hidden_layers": 4, "state_size": 4},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 4, "attention_hidden_size": 32},
}
# Keys and values of all layers, but in another form; the second is recurrent in most layers.
OTHERWISE = {
    "deepseek_v3": LLAMA | LATENT,
    "qwen3_next": LLAMA | HEADS | LINEAR,
}


# One of each kind for the quick group.
QUICK = ("gpt2", "mixtral", "mamba", "qwen3_next")


def each(*families: str):
    return [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in families]


def made(folder: Path, family: str, sizes: dict) -> LocalModel:
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    known = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **known, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / family)
    tokenizer.save_pretrained(folder / family)
    return LocalModel(folder / family, device="cpu", batch_size=2)


def fitted(model: LocalModel) -> Guard:
    draw = random.Random(0)
    words = {True: ["poison", "weapon", "steal"], False: ["bread", "music", "tea"]}
    examples = [
        (f"question {i // 3}", " ".join(draw.choices(words[i % 2 == 0], k=5)), i % 2 == 0)
        for i in range(60)
    ]
    return Guard.fit(model, examples, risk=0.1)


def watched(guard: Guard, model: LocalModel) -> tuple[str, np.ndarray]:
    """An answer of eight tokens, and its scores while it was written."""
    stock = LocalModel(model.folder, device="cpu", stock=True)
    criteria = guard.criteria(stock.model, stock.tokenizer)
    criteria.threshold = float("inf")
    ids = torch.tensor([model.tokens("question 1")])
    letters = model.tokenizer(
        "abcdefgh", add_special_tokens=False
    ).input_ids  # others are half signs
    out = stock.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, pad_token_id=0,
        suppress_tokens=[t for t in range(259) if t not in letters], stopping_criteria=[criteria],
    )  # fmt: skip
    return stock.tokenizer.decode(out[0, ids.shape[1] :]), criteria.scores[0]


@pytest.mark.parametrize("family", each(*KEPT))
def test_answers_are_those_of_generate(tmp_path, family):
    model = made(tmp_path, family, KEPT[family])
    prompts = ["a", "a longer one, of other words", "and", "three more of them"]
    requests = [Request(p, 12) for p in prompts]
    found = {job.prompt.index: job.ids for ended in model.decode(requests) for job in ended}
    stock = LocalModel(model.folder, device="cpu", stock=True).model
    for i, prompt in enumerate(prompts):
        ids = torch.tensor([model.tokens(prompt)])
        out = stock.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip
        expected = out[0, ids.shape[1] :].tolist()
        assert list(found[i]) == [t for t in expected if t != 0]


@pytest.mark.parametrize("family", each(*KEPT, *OTHERWISE))
def test_scores_while_it_writes_are_those_of_the_finished_answer(tmp_path, family):
    """In float32 to 1e-4: `score` reads the answer at once, and rounds no state."""
    model = made(tmp_path, family, (KEPT | OTHERWISE)[family])
    guard = fitted(model)
    answer, scores = watched(guard, model)
    offline = guard.score("question 1", answer)
    assert len(offline) == len(scores) == 8
    assert np.allclose(scores, offline, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "scale"), [("granite", {"logits_scaling": 8.0}), ("cohere", {"logit_scale": 0.1})]
)
def test_logits_are_scaled_as_the_model_does(tmp_path, family, scale):
    model = made(tmp_path, family, LLAMA | scale)
    (((_, trace),),) = given(model, ["question 1"], ["an answer"], 16)
    answer = model.tokenizer("an answer", add_special_tokens=False).input_ids
    ids = torch.tensor([[*model.tokens("question 1"), *answer]])
    with torch.no_grad():
        logits = model.model(ids).logits[0, -len(answer) - 1 : -1]
    expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(answer)[:, None])[:, 0]
    assert np.allclose(trace.logp, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("family", each(*OTHERWISE, *RECURRENT))
def test_other_caches_are_refused_before_an_answer(tmp_path, family):
    model = made(tmp_path, family, (OTHERWISE | RECURRENT)[family])
    with pytest.raises(SettingsError, match="does not keep keys and values alike") as refused:
        list(model.decode([Request("a", 4)]))
    assert "address" in refused.value.remedy


@pytest.mark.parametrize("family", each(*RECURRENT))
def test_a_recurrent_model_is_not_watched_unseen(tmp_path, family):
    model = made(tmp_path, family, RECURRENT[family])
    guard = fitted(model)
    with pytest.raises(Unwatched, match="recurrent"):
        watched(guard, model)


BOTH_WAYS = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "initializer_range": 0.5,
}  # fmt: skip
SEVERAL = LLAMA | HEADS | {
    "vocab_size_per_layer_input": 300, "hidden_size_per_layer_input": 8, "laurel_rank": 4,
    "num_kv_shared_layers": 0, "altup_num_inputs": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "sizes", "reason"),
    [
        ("bert", BOTH_WAYS, "it reads tokens to come"),
        ("gemma3n_text", SEVERAL, "its blocks give several states a token"),
        ("llama4_text", LLAMA | HEADS | {"num_local_experts": 2}, "last_hidden_state"),
    ],
)
def test_states_that_cannot_be_read_token_by_token_are_refused(tmp_path, family, sizes, reason):
    model = made(tmp_path, family, sizes)
    with pytest.raises(SettingsError, match=f"{family} cannot be watched: .*{reason}") as refused:
        fitted(model)
    assert "decoder" in refused.value.remedy
    with pytest.raises(SettingsError, match=reason):
        collector_of(Job(model, tmp_path))


def test_an_answer_of_an_encoder_and_a_decoder_is_not_watched():
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    config = T5Config(**sizes, vocab_size=300, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(config).eval()
    with pytest.raises(SettingsError, match="it has an encoder"):
        Guard.fit(
            model, [(f"question {i}", "b", i < 20) for i in range(40)], tokenizer=tiny_tokenizer()
        )
    criteria = GuardCriteria(Probe((1,), torch.ones(32), 0.0), model, float("inf"))
    ids = torch.tensor([[3, 4, 5]])
    model.generate(ids, max_new_tokens=2)  # unwatched, it is not disturbed
    with pytest.raises(Unwatched, match="no forward pass"):
        model.generate(ids, max_new_tokens=2, stopping_criteria=[criteria])
