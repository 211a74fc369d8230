"""A guard before a server: what it gives out, when it ends, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.online.guard.hearing import Unwatched
from trustllm_repro.online.guard.watch import watch
from trustllm_repro.online.guard.words import BUCKETS, Reading, WordProbe, buckets, split_words

BAD = "poison"


def probe(burn_in: float = 0.0) -> WordProbe:
    weight = np.zeros(BUCKETS, np.float32)
    weight[buckets([BAD])[0, 0]] = 1.0
    return WordProbe(weight, burn_in)


def chunk(text: str, last: bool = False, **more) -> dict:
    return {"choices": [{"index": 0, "delta": {"content": text, **more},
                         "finish_reason": "stop" if last else None}]}  # fmt: skip


class Stream(list):
    closed = False

    def close(self) -> None:
        self.closed = True


def test_an_answer_without_alarm_is_given_out_as_it_came() -> None:
    pieces = ["Hel", "lo, ", "there", "."]
    stream = Stream([chunk(p, p == ".") for p in pieces])
    found = list(watch(probe(), 0.5, stream))
    assert [p.text for p in found] == pieces
    assert not any(p.alarm for p in found)
    assert stream.closed


def test_the_alarm_ends_the_stream_and_holds_its_chunk_back() -> None:
    stream = Stream([chunk("take "), chunk("poi"), chunk("son "), chunk("and more")])
    found = list(watch(probe(), 0.4, stream))
    assert [p.text for p in found] == ["take ", "poi", ""]
    assert found[-1].alarm
    assert stream.closed


@pytest.mark.parametrize("last", [True, False])
def test_the_last_word_is_read_though_nothing_follows_it(last) -> None:
    found = list(watch(probe(), 0.9, Stream([chunk("poi"), chunk("son", last)])))
    assert found[-1].alarm


def test_plain_completions_and_objects() -> None:
    data = {"choices": [{"index": 0, "text": "poison ", "finish_reason": None}]}
    thing = SimpleNamespace(model_dump=lambda: data)
    assert [p.alarm for p in watch(probe(), 0.5, [thing])] == [True]


def test_chunks_of_use_hold_no_answer() -> None:
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    assert [p.text for p in watch(probe(), 0.5, [chunk("hi ", True), usage])] == ["hi "]


@pytest.mark.parametrize("field", ["tool_calls", "reasoning_content", "function_call", "audio"])
def test_what_is_no_text_is_refused(field) -> None:
    with pytest.raises(Unwatched, match=field):
        list(watch(probe(), 0.5, [chunk("", **{field: [{"name": "f"}]})]))


def test_several_answers_are_refused() -> None:
    two = chunk("a")
    two["choices"].append({"index": 1, "delta": {"content": "b"}})
    other = chunk("a")
    other["choices"][0]["index"] = 1
    for stream in ([two], [other]):
        with pytest.raises(Unwatched, match="several answers"):
            list(watch(probe(), 0.5, stream))


def test_an_error_of_the_server_is_not_an_end() -> None:
    def broken():
        yield chunk("hello ")
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        list(watch(probe(), 0.5, broken()))


@given(st.text(max_size=60), st.data())
def test_a_text_in_pieces_is_read_as_the_whole(text, data) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    draw = np.random.default_rng(0)
    words = WordProbe(draw.normal(size=BUCKETS).astype(np.float32), 2.0)
    reading, start, score = Reading(), 0, np.nan
    for end in [*cuts, len(text)]:
        score = words.add(reading, text[start:end], end=False)
        start = end
    score = words.add(reading, "", end=True)
    whole = words.read(text, [len(text)])
    assert np.isclose(score, whole[-1], equal_nan=True)
    assert reading.words == len(split_words(text))
