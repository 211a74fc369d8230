"""Traces: prefixes, sentences, and where tokens end in the text."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.online.generations.trace import Trace, sentence_ends, token_ends


def of(pieces: list[str]) -> Trace:
    n = len(pieces)
    zeros = np.zeros(n, np.float32)
    ends = np.cumsum([len(p) for p in pieces], dtype=np.int32)
    top = np.zeros((n, 1), np.float32)
    return Trace("k", np.arange(n), "".join(pieces), ends, zeros, zeros, top, top)


@given(st.lists(st.sampled_from(["a", " b", ".", "\n", ""]), max_size=8), st.data())
def test_parts_make_up_the_trace(pieces: list[str], data) -> None:
    trace = of(pieces)
    cut = data.draw(st.integers(0, len(trace)))
    one, two = trace.part(0, cut), trace.part(cut, len(trace))
    assert one.text + two.text == trace.text
    assert [*one.ids, *two.ids] == trace.ids.tolist()
    assert [*one.ends, *(two.ends + len(one.text))] == trace.ends.tolist()
    assert (one.finish, two.finish) == ("" if cut < len(trace) else trace.finish, trace.finish)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("", []),
        ("One.", []),
        ("One. Two.", [4]),
        ("1.5 is. x", [7]),
        ("a\n\nb", [3]),
        ("a.\nb", [3]),
    ],
)
def test_ends_of_sentences(text: str, ends: list[int]) -> None:
    assert sentence_ends(text).tolist() == ends


class Bytes:
    """A tokenizer whose tokens are the bytes of UTF-8."""

    def batch_decode(self, many, skip_special_tokens):
        return [bytes(ids).decode("utf-8", errors="replace") for ids in many]


@given(st.text(max_size=30))
def test_a_character_of_several_tokens_counts_with_its_last(text: str) -> None:
    data = text.encode("utf-8", errors="ignore")
    text = data.decode()
    ends = token_ends(Bytes(), list(data), text)
    whole = [len(data[: i + 1].decode("utf-8", errors="ignore")) for i in range(len(data))]
    if "\ufffd" not in text:
        assert ends.tolist() == whole
    assert not len(ends) or ends[-1] == len(text)


def test_special_tokens_have_no_characters() -> None:
    words = {1: "Hi", 2: "", 3: " you"}
    tokenizer = SimpleNamespace(
        batch_decode=lambda many, skip_special_tokens: ["".join(words[i] for i in m) for m in many]
    )
    assert token_ends(tokenizer, [1, 2, 3], "Hi you").tolist() == [2, 2, 6]
