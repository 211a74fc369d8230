"""Continuous batching gives the answers that one prompt at a time gives."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np
import torch

from tests.models.prompts import answers, one_by_one, requests
from trustllm_repro.models.base import Finish, Request
from trustllm_repro.models.decoding import Decoder, DecodeRequest, Prompt, noise, pick
from trustllm_repro.models.local import LocalModel

FOLDERS = ("tiny", "base", "sliding")


@pytest.fixture(params=FOLDERS)
def folder(request):
    return request.getfixturevalue(request.param)


def test_greedy_answers_are_those_of_transformers(folder):
    model, asked = LocalModel(folder, batch_size=5), requests()
    want = one_by_one(model, asked)
    assert answers(model, asked) == want
    assert len({c.text for c in want}) > len(want) // 2  # the model does listen


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_an_answer_depends_on_no_batch_and_no_order(folder, batch_size):
    asked = requests()
    want = answers(LocalModel(folder, batch_size=7), asked)
    order = list(range(len(asked)))
    random.Random(batch_size).shuffle(order)
    got = answers(LocalModel(folder, batch_size=batch_size), [asked[i] for i in order])
    assert got == [want[i] for i in order]


def test_small_caches_make_small_batches_and_the_same_answers(tiny):
    asked = requests()
    model = LocalModel(tiny, batch_size=16)
    want = answers(model, asked)
    model.cache_tokens = 300  # less than two long rows
    assert answers(model, asked) == want
    model.cache_tokens = 1  # less than a row: one at a time
    assert answers(model, asked) == want


def test_small_passes_give_the_same_answers(tiny):
    asked = requests()
    want = answers(LocalModel(tiny), asked)
    model = LocalModel(tiny)
    model.reader.pass_tokens = 40
    assert answers(model, asked) == want


def test_drawn_answers_depend_on_their_seed_only(tiny):
    asked = [r for s in range(3) for r in requests(8, temperature=1.0, seed=s)]
    want = answers(LocalModel(tiny, batch_size=16), asked)
    assert answers(LocalModel(tiny, batch_size=16), asked) == want
    assert answers(LocalModel(tiny, batch_size=1), asked) == want
    backwards = answers(LocalModel(tiny, batch_size=5), asked[::-1])
    assert backwards[::-1] == want
    texts = [c.text for c in want]
    assert all(len({texts[i], texts[i + 8], texts[i + 16]}) == 3 for i in range(8))


def test_greedy_and_drawn_answers_share_a_batch(tiny):
    greedy, drawn = requests(8), requests(8, temperature=1.0, seed=4)
    mixed = [r for pair in zip(greedy, drawn, strict=True) for r in pair]
    got = answers(LocalModel(tiny, batch_size=4), mixed)
    assert got[::2] == answers(LocalModel(tiny), greedy)
    assert got[1::2] == answers(LocalModel(tiny), drawn)


def test_answers_come_as_they_end(tiny):
    model = LocalModel(tiny, batch_size=2)
    sizes = [len(batch) for batch in model.complete(requests(12))]
    assert sum(sizes) == 12
    assert len(sizes) >= 6  # rows end at different times, and two at most at once
    assert max(sizes) <= 2


def test_limits_are_kept_and_one_token_is_one_token(tiny):
    asked = [Request("How are you?", n) for n in (1, 2, 5)]
    got = answers(LocalModel(tiny), asked)
    assert [(c.new_tokens, c.finish) for c in got] == [(n, Finish.LENGTH) for n in (1, 2, 5)]
    assert got[2].text.startswith(got[1].text)


def test_no_request_no_answer(tiny):
    assert list(LocalModel(tiny).complete([])) == []


def test_the_cache_is_let_go(tiny):
    model = LocalModel(tiny)
    decoder = Decoder(model.reader, model.ends, 4, 1000)
    jobs = [DecodeRequest(Prompt(i, model.tokens(f"No {i}")), Request("", 3)) for i in range(6)]
    assert sum(map(len, decoder.run(jobs))) == 6
    assert decoder.cache is None


def job(seed: int, ids: int = 0, temperature: float = 1.0) -> DecodeRequest:
    return DecodeRequest(Prompt(0, (1,)), Request("", 9, temperature, seed), ids=[0] * ids)


def test_draws_follow_the_softmax():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    count = 4000
    drawn = pick(logits.repeat(count, 1), [job(s) for s in range(count)])
    share = np.bincount(drawn, minlength=4) / count
    want = torch.softmax(logits, 0).numpy()
    # Five standard deviations of a share at most.
    assert (abs(share - want) < 5 * np.sqrt(want * (1 - want) / count)).all()


def test_draws_are_colder_at_low_temperature_and_hotter_at_high():
    logits = torch.tensor([1.0, 0.0]).repeat(1000, 1)
    first = [
        pick(logits, [job(s, temperature=t) for s in range(1000)]).count(0)
        for t in (0.1, 1.0, 10.0)
    ]
    assert first[0] > 990 > first[1] > first[2] > 450


def test_noise_differs_between_seeds_and_positions():
    like = torch.zeros(4, 50)
    a, b, c, d = noise([job(1), job(2), job(1, ids=1), job(1)], like)
    assert torch.equal(a, d)
    assert not torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_without_finite_logits_have_no_token(bad, temperature):
    logits = torch.tensor([[0.0, 1.0], [bad, bad], [3.0, 1.0]])
    picked = pick(logits, [job(1, temperature=temperature) for _ in range(3)])
    assert picked[1] is None
    assert None not in (picked[0], picked[2])


def test_one_spoilt_logit_spoils_its_row():
    logits = torch.tensor([[0.0, float("nan")], [0.0, float("inf")]])
    assert pick(logits, [job(1, temperature=0.0)] * 2) == [None, None]
