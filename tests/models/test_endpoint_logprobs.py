"""Log-probabilities from a server: read in all their forms, and nothing malformed does harm."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("openai")

from tests.models.server import serving
from tests.models.test_endpoint import PROMPTS, REQUESTS, endpoint
from trustllm_repro.errors import SettingsError
from trustllm_repro.models.base import Finish
from trustllm_repro.models.endpoint import TOP_LOGPROBS, TokenLogprobs, read_logprobs
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations.recorder import generated


def shown(model, requests=REQUESTS) -> dict:
    return {i: (done, tokens) for i, done, tokens in model.show(requests)}


@pytest.mark.parametrize("chat", [True, False])
def test_numbers_are_those_of_the_same_model_here(tiny: Path, base: Path, chat: bool) -> None:
    folder = tiny if chat else base
    local = {i: t for some in generated(LocalModel(folder), REQUESTS) for i, t in some}
    with serving(folder) as (address, desk):
        found = shown(endpoint(address, chat=chat))
    wanted = {"logprobs": True, "top_logprobs": 5} if chat else {"logprobs": 5}
    assert wanted.items() <= desk.calls[0].items()
    for i, trace in local.items():
        done, tokens = found[i]
        assert done.text == trace.text
        assert np.allclose([t.nats for t in tokens], trace.logp, atol=1e-4)
        for token, nats in zip(tokens, trace.top_logp, strict=True):
            best = [p for _, p in token.top]
            # Plain completions send them by text, which bytes of unfinished characters share.
            assert len(best) == TOP_LOGPROBS or not chat
            assert np.isclose(best[0], nats[0], atol=1e-4) or not chat
            assert best == sorted(best, reverse=True)


def test_a_server_that_shows_nothing_is_asked_once_only(tiny: Path) -> None:
    with serving(tiny, logprobs="null") as (address, desk):
        found = shown(endpoint(address))
        assert len(desk.calls) == len(REQUESTS)
    assert all(done.text is not None and tokens == [] for done, tokens in found.values())


@pytest.mark.parametrize("status", ["400", "403", "422"])
def test_a_refusal_of_log_probabilities_is_remembered(tiny: Path, status: str) -> None:
    with serving(tiny, logprobs=status) as (address, desk):
        found = shown(endpoint(address, parallel=1))
        assert len(desk.calls) == len(REQUESTS) + 1
        assert sum("logprobs" in call for call in desk.calls) == 1
    assert all(done.finish is not Finish.ERROR and not tokens for done, tokens in found.values())


def test_a_refused_prompt_does_not_end_log_probabilities(tiny: Path) -> None:
    with serving(tiny, faults=[None, "400", "400", None]) as (address, _):
        found = shown(endpoint(address, parallel=1))
    assert found[1][0].finish is Finish.ERROR
    assert all(found[i][1] for i in range(len(PROMPTS)) if i != 1)


def test_a_refused_key_is_still_an_error(tiny: Path) -> None:
    with serving(tiny, key="right") as (address, _), pytest.raises(SettingsError, match="key"):
        shown(endpoint(address, key="wrong"))


def test_the_form_of_completions_is_found_out(tiny: Path) -> None:
    with serving(tiny, plain=False) as (address, desk):
        model = endpoint(address)
        assert not model.refusal
        plain = model.plain()
        assert plain.refusal
        assert plain.refusal
        assert len(desk.calls) == 2  # one each, then known
    assert not endpoint("http://127.0.0.1:9/v1", tries=1).refusal


ODD = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers(-300, 300),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["content", "tokens", "token", "logprob", "bytes", "top_logprobs", "token_logprobs", "logprobs"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


@given(ODD)
def test_nothing_malformed_raises(sent) -> None:
    for choice in (sent, {"logprobs": sent}, {"logprobs": {"content": sent, "tokens": ["a"]}}):
        for token in read_logprobs(choice):
            assert math.isnan(token.nats) or token.nats <= 0
            assert all(p <= 0 for _, p in token.top)
            assert len(token.top) <= TOP_LOGPROBS


@pytest.mark.parametrize("value", [None, "x", True, math.nan, math.inf, -math.inf, 0.5, -9999.0])
def test_a_number_that_is_none_is_not_known(value) -> None:
    (token,) = read_logprobs({"logprobs": {"content": [{"token": "a", "logprob": value}]}})
    assert token.said == b"a"
    assert math.isnan(token.nats)


def test_lists_of_another_length_say_nothing() -> None:
    sent = {"tokens": ["a", "b"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0}] * 3}
    found = read_logprobs({"logprobs": sent})
    assert [t.said for t in found] == [b"a", b"b"]
    assert all(math.isnan(t.nats) and not t.top for t in found)


def test_one_unreadable_token_takes_all_with_it() -> None:
    good = {"token": "a", "logprob": -1.0, "top_logprobs": []}
    assert read_logprobs({"logprobs": {"content": [good, {"logprob": -1.0}]}}) == []
    assert read_logprobs({"logprobs": {"tokens": ["a", None]}}) == []


def test_bytes_are_taken_before_text_and_the_best_come_first() -> None:
    others = [{"token": t, "logprob": p} for t, p in (("b", -3.0), ("a", -0.1), ("c", None))]
    item = {"token": "\ufffd", "bytes": [195], "logprob": -0.1, "top_logprobs": others}
    assert read_logprobs({"logprobs": {"content": [item]}}) == [
        TokenLogprobs(b"\xc3", -0.1, (("a", -0.1), ("b", -3.0)))
    ]
    item["bytes"] = [999]
    assert read_logprobs({"logprobs": {"content": [item]}})[0].said == "\ufffd".encode()
