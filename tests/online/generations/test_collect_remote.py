"""Answers through an endpoint: the same traces as here, as far as it shows them, and asked for once."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("openai")

from tests.models.server import serving
from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.models.endpoint import Endpoint, TokenLogprobs
from trustllm_repro.online.generations.collect import (
    Collector,
    RemoteCollector,
    ends_of,
    trace_of,
    yes_of,
)
from trustllm_repro.online.generations.levels import TEXT, TOP5, level_of, mask
from trustllm_repro.online.generations.tasks import Case, LeftOut, OnlineTask
from trustllm_repro.online.monitors.base import Need, all_monitors

CASES = [Case(i, str(i), f"Question {i}?") for i in range(4)]
TASK = OnlineTask("toy", "nothing", "made here", lambda: CASES, ("harm",), max_new_tokens=8)
PLENTY = frozenset(Need)


def collector(address: str, folder: Path, chat: bool = True) -> RemoteCollector:
    model = Endpoint(address, "tiny", chat=chat, parallel=2, timeout=20.0, tries=2)
    return RemoteCollector(model, folder)


def test_traces_are_those_of_the_same_model_here_seen_through_five(tiny, model, tmp_path) -> None:
    local = Collector(model, tmp_path / "local", (1,)).collect(TASK, CASES, frozenset())
    with serving(tiny) as (address, _):
        remote = collector(address, tmp_path / "remote")
        found = remote.collect(TASK, CASES, frozenset())
    assert level_of(found) is TOP5
    for here, there in zip(local, found, strict=True):
        one, two = mask(here, TOP5).trace, there.trace
        assert (two.text, two.finish, two.prompt_tokens) == (
            one.text,
            one.finish,
            one.prompt_tokens,
        )
        assert np.allclose(two.logp, one.logp, atol=1e-4)
        assert np.allclose(two.top_logp, one.top_logp, atol=1e-4)
        assert np.allclose(two.entropy, one.entropy, atol=1e-4)
        assert np.allclose(two.first_logp, one.first_logp, atol=1e-4)
        assert two.prefix(len(two)) == two.text


def test_the_second_run_asks_nothing(tiny, tmp_path) -> None:
    with serving(tiny) as (address, desk):
        first = collector(address, tmp_path).collect(TASK, CASES, PLENTY)
        assert len(desk.calls) > 3 * len(CASES)
        desk.calls.clear()
        again = collector(address, tmp_path).collect(TASK, CASES, PLENTY)
        assert desk.calls == []
    for one, two in zip(first, again, strict=True):
        assert one.trace.text == two.trace.text
        assert [s.text for s in one.samples] == [s.text for s in two.samples]
        assert one.replies.keys() == two.replies.keys()
        assert len(one.samples) == 5
        assert not one.branches


@pytest.mark.parametrize("logprobs", ["null", "400", "403"])
def test_without_log_probabilities_there_is_text(tiny, tmp_path, logprobs: str) -> None:
    with serving(tiny, logprobs=logprobs) as (address, _):
        remote = collector(address, tmp_path)
        found = remote.collect(TASK, CASES, frozenset({Need.SAMPLES}))
    assert level_of(found) is TEXT
    for seen in found:
        assert seen.trace.prefix(len(seen.trace)) == seen.trace.text
        assert np.isnan(seen.trace.logp).all()
        assert np.isnan(seen.trace.entropy).all()
    monitors = all_monitors()
    for name in ("sample VR, words", "SelfCheck unigram, mean"):
        assert [len(x) for x in monitors[name](found)] == [len(s.trace) for s in found]


def spoiled(kind: str):
    def spoil(sent):
        items = sent["content"]
        if kind == "nan":
            items[0]["logprob"] = math.nan
        elif kind == "missing":
            del items[0]["logprob"], items[0]["top_logprobs"]
        elif kind == "short":
            items = items[:2]
        elif kind == "no list":
            items = {"a": 1}
        elif kind == "one most likely":
            for item in items:
                item["top_logprobs"] = item["top_logprobs"][:1]
        return {"content": items}

    return spoil


@pytest.mark.parametrize("kind", ["nan", "missing", "short", "no list", "one most likely"])
def test_malformed_log_probabilities_do_no_harm(tiny, tmp_path, kind: str) -> None:
    with serving(tiny, spoil=spoiled(kind)) as (address, _):
        found = collector(address, tmp_path).collect(TASK, CASES, frozenset())
        again = collector(address, tmp_path).collect(TASK, CASES, frozenset())
    monitors = all_monitors()
    for one, two in zip(found, again, strict=True):
        assert np.array_equal(one.trace.logp, two.trace.logp, equal_nan=True)
        assert len(one.trace.ends) == len(one.trace.logp) == len(one.trace.top_logp)
        assert one.trace.prefix(len(one.trace)) == one.trace.text
        if kind in ("nan", "missing"):
            assert np.isnan(one.trace.logp[0])
            assert np.isfinite(one.trace.logp[1:]).all()
        if kind in ("one most likely", "no list"):
            assert np.isnan(one.trace.entropy).all()
    for name in ("average entropy", "average likelihood", "maximum entropy, top 5"):
        assert [len(x) for x in monitors[name](found)] == [len(s.trace) for s in found]


def test_a_failed_prompt_is_asked_again_by_the_next_run(tiny, tmp_path) -> None:
    needs = frozenset({Need.SAMPLES, Need.REPLIES})
    with serving(tiny, faults=[None, "400", "400"]) as (address, desk):
        remote = collector(address, tmp_path)
        remote.model.parallel = 1
        first = remote.collect(TASK, CASES, needs)
        assert [s.trace.finish for s in first].count("error") == 1
        desk.calls.clear()
        again = collector(address, tmp_path).collect(TASK, CASES, needs)
        prompts = [c["messages"][0]["content"] for c in desk.calls]
    lost = next(i for i, s in enumerate(first) if s.trace.finish == "error")
    assert [s.trace.finish for s in again].count("error") == 0
    assert prompts.count(CASES[lost].prompt) == 1
    assert len(again[lost].trace) > 0


def test_tasks_that_cannot_be_done_say_why(tiny, tmp_path) -> None:
    with serving(tiny, plain=False) as (address, _):
        remote = collector(address, tmp_path)
        with pytest.raises(LeftOut, match="given answers"):
            remote.collect(TASK, [replace(CASES[0], answer="x")], frozenset())
        with pytest.raises(LeftOut, match="no plain completions"):
            remote.collect(replace(TASK, continues=True), CASES, frozenset())


def test_texts_are_continued_by_plain_completions(tiny, tmp_path) -> None:
    with serving(tiny) as (address, desk):
        remote = collector(address, tmp_path)
        remote.collect(replace(TASK, continues=True), CASES, frozenset())
        assert {call.get("prompt") for call in desk.calls[1:]} == {c.prompt for c in CASES}


def test_yes_is_read_among_the_most_likely_tokens_or_in_the_words(tmp_path, monkeypatch) -> None:
    likely = tuple((t, math.log(p)) for t, p in ((" Yes", 0.5), ("No", 0.2), ("yes", 0.1)))
    blank = TokenLogprobs(b"\n", -0.1, (("\n", -0.1),))
    done = Completion("\nYes", Finish.STOP, 1, 2)
    assert yes_of(done, [blank, TokenLogprobs(b"Yes", -1.0, likely)]) == pytest.approx(0.6 / 0.8)
    assert math.isnan(yes_of(done, [blank]))
    said = {"a": "Yes, it is.", "b": "no", "c": "perhaps", "d": None}

    def show(self, requests):
        for i, r in enumerate(requests):
            yield i, Completion(said[r.prompt], Finish.STOP, 1, 1), []

    monkeypatch.setattr(Endpoint, "show", show)
    model = Endpoint("http://127.0.0.1:9/v1", "m")
    found = RemoteCollector(model, tmp_path)._yes(list(said))
    assert found[:2] == [1, 0]
    assert np.isnan(found[2:]).all()


@given(st.text(max_size=30))
def test_words_make_up_the_text(text: str) -> None:
    trace = trace_of(Completion(text, Finish.STOP, 1, 1), [])
    ends = [0, *trace.ends.tolist()]
    assert ends[-1] == len(text) or "\ufffd" in text
    if "\ufffd" not in text and text.strip():
        assert all(text[a:b].strip() for a, b in pairwise(ends))


@given(st.text(max_size=12), st.lists(st.binary(max_size=4), max_size=8))
def test_ends_never_fall_and_stay_in_the_text(text: str, pieces: list[bytes]) -> None:
    ends = ends_of(pieces, text)
    assert len(ends) == len(pieces)
    assert (np.diff(ends) >= 0).all()
    assert all(0 <= e <= len(text) for e in ends)


def test_characters_of_several_tokens_count_with_the_last() -> None:
    pieces = [b" a", *(bytes([b]) for b in "é".encode()), b"<end>"]
    assert ends_of(pieces, "aé").tolist() == [1, 1, 2, 2]
    assert ends_of([b"xx", b"yy"], "abcd").tolist() == [2, 4]


def test_an_answer_of_nothing_is_an_empty_trace() -> None:
    for done in (Completion("", Finish.STOP, 3, 0), Completion(None, Finish.ERROR, 0, 0)):
        trace = trace_of(done, [])
        assert (len(trace), trace.text, trace.finish) == (0, "", str(done.finish))
        assert trace.top_logp.shape == (0, 5)
