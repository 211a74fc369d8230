"""A guard before a server: what it gives out, when it ends, and what it refuses."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from trustllm_repro.online.guard.criteria import Piece, Unwatched
from trustllm_repro.online.guard.watch import ENTROPY, WORDS, Watch
from trustllm_repro.online.monitors.texts import BUCKETS, Words, buckets

BAD = "poison"


def watch(threshold: float, chunks, *readers: str) -> list[Piece]:
    """By words, of which one counts; entropy counts twice."""
    weight = np.zeros(BUCKETS, np.float32)
    weight[buckets([BAD])[0, 0]] = 1.0
    words = Words(model=weight, burn_in=0.0)
    thresholds = dict.fromkeys(readers or (WORDS,), threshold)
    return list(Watch(words, 2.0, thresholds, most=9).pieces(chunks))


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
    found = watch(0.5, stream)
    assert [p.text for p in found] == pieces
    assert not any(p.alarm for p in found)
    assert stream.closed


def test_the_alarm_ends_the_stream_and_holds_its_chunk_back() -> None:
    stream = Stream([chunk("take "), chunk("poi"), chunk("son "), chunk("and more")])
    found = watch(0.4, stream)
    assert [p.text for p in found] == ["take ", "poi", ""]
    assert found[-1].alarm
    assert stream.closed


@pytest.mark.parametrize("last", [True, False])
def test_the_last_word_is_read_though_nothing_follows_it(last) -> None:
    found = watch(0.9, Stream([chunk("poi"), chunk("son", last)]))
    assert found[-1].alarm


def test_plain_completions_and_objects() -> None:
    data = {"choices": [{"index": 0, "text": "poison ", "finish_reason": None}]}
    thing = SimpleNamespace(model_dump=lambda: data)
    assert [p.alarm for p in watch(0.5, [thing])] == [True]


def test_chunks_of_use_hold_no_answer() -> None:
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    assert [p.text for p in watch(0.5, [chunk("hi ", True), usage])] == ["hi "]


@pytest.mark.parametrize("field", ["tool_calls", "reasoning_content", "function_call", "audio"])
def test_what_is_no_text_is_refused(field) -> None:
    with pytest.raises(Unwatched, match=field):
        watch(0.5, [chunk("", **{field: [{"name": "f"}]})])


def test_several_answers_are_refused() -> None:
    two = chunk("a")
    two["choices"].append({"index": 1, "delta": {"content": "b"}})
    other = chunk("a")
    other["choices"][0]["index"] = 1
    for stream in ([two], [other]):
        with pytest.raises(Unwatched, match="several answers"):
            watch(0.5, stream)


def test_an_error_of_the_server_is_not_an_end() -> None:
    def broken():
        yield chunk("hello ")
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        watch(0.5, broken())


EVEN = [math.log(1 / 5)] * 5  # an entropy of ln 5
SURE = [0.0, -9999.0, -9999.0, -9999.0, -9999.0]  # as OpenAI sends it: 0


def with_logprobs(text: str, *tops: list[float], last: bool = False) -> dict:
    """A chunk of one token a list of log-probabilities."""
    found = chunk(text, last)
    content = [
        {"token": "x", "logprob": 0.0,
         "top_logprobs": [{"token": str(k), "logprob": p} for k, p in enumerate(top)]}
        for top in tops
    ]  # fmt: skip
    found["choices"][0]["logprobs"] = {"content": content}
    return found


BOTH = (WORDS, ENTROPY)


def test_log_probabilities_are_read_where_they_are_shown() -> None:
    stream = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        with_logprobs("good ", EVEN),
        with_logprobs("", SURE),  # some bytes of a character
        with_logprobs("day ", SURE, EVEN),
        chunk("", True),
    ]
    found = watch(9.0, stream, *BOTH)
    assert [p.text for p in found] == ["good ", "day "]
    assert [p.score for p in found] == pytest.approx([2 * math.log(5), math.log(5)])
    assert watch(3.0, stream, *BOTH)[-1] == Piece("", pytest.approx(2 * math.log(5)), alarm=True)


def test_without_them_or_if_asked_to_text_is_read() -> None:
    stream = [with_logprobs("poison ", EVEN), chunk("and ", True)]
    assert [p.score for p in watch(9.0, stream, WORDS)] == [1.0, 0.5]
    for first in (chunk("poison "), with_logprobs("poison ", EVEN[:3])):
        assert [p.score for p in watch(9.0, [first, stream[1]], *BOTH)] == [1.0, 0.5]
    with pytest.raises(Unwatched, match="not begin with log-probabilities"):
        watch(9.0, [chunk("poison ")], ENTROPY)


@pytest.mark.parametrize(
    ("then", "what"),
    [
        (chunk("more "), "stopped sending"),
        (with_logprobs("more ", EVEN[:3]), "not all of the 5"),
        (with_logprobs("more ", []), "not all of the 5"),
        (with_logprobs("more ", *[SURE] * 9), "more than the 9 tokens"),
        ({"error": {"message": "overloaded"}}, "an error"),
    ],
)
def test_a_stream_of_which_something_is_missing_is_refused(then, what) -> None:
    with pytest.raises(Unwatched, match=what):
        watch(99.0, [with_logprobs("good ", EVEN), then, with_logprobs("end", EVEN)], *BOTH)


@pytest.mark.parametrize(
    "thing",
    [
        {"type": "response.output_text.delta", "delta": "hello"},
        {"choices": [{"index": 0, "message": {"content": "hello"}}]},
        {"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": "hello"}]}}]},
        "hello",
    ],
)
def test_what_is_no_chunk_of_a_completion_is_refused(thing) -> None:
    with pytest.raises(Unwatched):
        watch(9.0, [thing])
