"""What an endpoint shows, as a trace: the pieces of its text, and where they end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.online.generations.levels import ends_of, trace_of, words


@given(st.text(max_size=30))
def test_words_make_up_the_text(text: str) -> None:
    pieces = words(text)
    assert "".join(pieces) == text
    assert all(p.strip() for p in pieces) or text.strip() == ""
    ends = ends_of([p.encode("utf-8", "surrogatepass") for p in pieces], text)
    assert ends.tolist() == np.cumsum([len(p) for p in pieces]).tolist() or "\ufffd" in text


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
