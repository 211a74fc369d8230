"""Draws by a model's own generation config, against transformers' `generate`."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from tests.models.prompts import answers, requests, set_generation
from trustllm_repro.errors import SettingsError, SourceCorrupt
from trustllm_repro.models.base import Finish, Request
from trustllm_repro.models.decoding import DecodeRequest, Prompt, pick
from trustllm_repro.models.local import FILTERS, LocalModel, own_filters, warper

# Each alone, the usual pairs, one that filters nothing, and none at all.
CONFIGS = (
    {}, {"top_k": 7}, {"top_p": 0.6}, {"top_k": 20, "top_p": 0.8, "temperature": 0.3},
    {"min_p": 0.2}, {"top_k": 0}, {"top_k": 0, "top_p": 0.5, "min_p": 0.02},
    {"repetition_penalty": 1.3, "top_k": 9},
)  # fmt: skip


def may_follow(model: LocalModel, prompt: str) -> set[int]:
    """Tokens that `generate`, called as the official toolkit calls it, may draw first."""
    ids = torch.tensor([model.tokens(prompt)])
    out = model.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0,
        repetition_penalty=1.0, max_new_tokens=1, pad_token_id=0, output_scores=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    return set(torch.isfinite(out.scores[0][0]).nonzero()[:, 0].tolist())


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_those_tokens_may_be_drawn_that_generate_draws_from(copy, config) -> None:
    set_generation(copy, **config)
    model = LocalModel(copy, sampling="model")
    want = may_follow(model, "How are you?")
    ids = torch.tensor([model.tokens("How are you?")])
    logits = model.model(ids).logits[:, -1].float()
    warp = warper(model.filters)
    scores = warp(None, logits) if warp else logits
    assert set(torch.isfinite(scores[0]).nonzero()[:, 0].tolist()) == want
    assert (len(want) < logits.shape[1]) == bool(model.filters)


def job(seed: int) -> DecodeRequest:
    return DecodeRequest(Prompt(0, (1,)), Request("", 9, 1.0, seed))


def test_what_is_filtered_is_never_drawn_and_the_rest_as_before() -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0]).repeat(500, 1)
    jobs = [job(s) for s in range(500)]
    whole, narrow = pick(logits, jobs), pick(logits, jobs, warper({"top_k": 2}))
    assert set(whole) == {0, 1, 2, 3, 4}
    assert set(narrow) == {0, 1}
    kept = [i for i, t in enumerate(whole) if t in (0, 1)]
    assert [whole[i] for i in kept] == [narrow[i] for i in kept]


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), float("inf")])
def test_rows_without_finite_logits_have_no_token_under_any_filter(name, bad) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [bad, bad, bad]])
    value = {"top_k": 2}.get(name, 0.5)
    picked = pick(logits, [job(1), job(2)], warper({name: value}))
    assert picked[0] is not None
    assert picked[1] is None


def test_an_answer_depends_on_no_batch(copy) -> None:
    set_generation(copy, top_k=20, top_p=0.8)
    asked = [r for s in range(2) for r in requests(10, temperature=1.0, seed=s)]
    want = answers(LocalModel(copy, batch_size=16, sampling="model"), asked)
    assert answers(LocalModel(copy, batch_size=1, sampling="model"), asked) == want
    assert answers(LocalModel(copy, batch_size=5, sampling="model"), asked[::-1])[::-1] == want
    assert answers(LocalModel(copy, batch_size=16), asked) != want


def test_greedy_answers_are_those_of_plain_sampling(copy) -> None:
    set_generation(copy, top_k=3, top_p=0.5)
    got = answers(LocalModel(copy, sampling="model"), requests(6))
    assert got == answers(LocalModel(copy), requests(6))
    assert {c.finish for c in got} <= {Finish.STOP, Finish.LENGTH}


def test_what_filters_is_in_the_identity(copy) -> None:
    plain = LocalModel(copy)
    assert "sampling" not in plain.identity
    assert LocalModel(copy, sampling="model").identity["sampling"] == {"top_k": 50}
    set_generation(copy, top_k=20, top_p=0.8)
    own = LocalModel(copy, sampling="model")
    assert own.identity == {**plain.identity, "sampling": {"top_k": 20, "top_p": 0.8}}
    set_generation(copy, top_k=0, top_p=1.0)
    assert LocalModel(copy, sampling="model").identity == plain.identity
    with pytest.raises(SettingsError, match="unknown sampling"):
        LocalModel(copy, sampling="greedy")


def test_draws_can_be_narrowed_by_hand(copy) -> None:
    plain = LocalModel(copy)
    nucleus = plain.narrowed(top_p=0.5)
    assert nucleus.identity == {**plain.identity, "sampling": {"top_p": 0.5}}
    set_generation(copy, top_k=0, top_p=0.5)
    asked = requests(8, temperature=1.0)
    assert answers(nucleus, asked) == answers(LocalModel(copy, sampling="model"), asked)
    assert plain.filters == {}


def test_older_folders_keep_it_in_the_config_of_the_model(copy) -> None:
    (copy / "generation_config.json").unlink()
    assert own_filters(copy) == {"top_k": 50}


@pytest.mark.parametrize(
    "asked",
    [
        {"no_repeat_ngram_size": 3}, {"bad_words_ids": [[5]]}, {"suppress_tokens": [5]},
        {"num_beams": 4}, {"min_new_tokens": 5}, {"penalty_alpha": 0.6}, {"stop_strings": ["x"]},
        {"guidance_scale": 1.5}, {"exponential_decay_length_penalty": [5, 1.1]},
        {"typical_p": 0.5}, {"epsilon_cutoff": 0.01}, {"eta_cutoff": 0.01}, {"top_h": 0.4},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_done_here_is_refused_not_dropped(copy, asked) -> None:
    set_generation(copy, **asked)
    with pytest.raises(SettingsError, match=next(iter(asked))) as caught:
        LocalModel(copy, sampling="model")
    assert "--sampling plain" in caught.value.remedy
    assert LocalModel(copy).filters == {}


def test_what_generate_does_not_know_or_the_request_says_is_no_matter(copy) -> None:
    set_generation(
        copy, chat_format="chatml", max_window_size=24000, temperature=0.6, do_sample=True,
        repetition_penalty=1.1, max_length=4096, no_repeat_ngram_size=0, num_beams=1, typical_p=1.0,
    )  # fmt: skip
    assert own_filters(copy) == {"top_k": 50}


@pytest.mark.parametrize("wrong", ['{"top_k": "many"}', '{"top_p": -2.0}', "{", "[]"])
def test_a_config_that_cannot_be_used_is_named(copy, wrong) -> None:
    (copy / "generation_config.json").write_text(wrong)
    with pytest.raises(SourceCorrupt, match=r"generation_config\.json cannot be used") as caught:
        own_filters(copy)
    assert "--sampling plain" in caught.value.remedy
