"""Traces: prefixes, sentences, and where tokens end in the text."""

from __future__ import annotations

from itertools import pairwise
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


@given(st.lists(st.sampled_from(["a", " b", ".", "\n", "! ", "", "c.d"])))
def test_prefixes_grow_to_the_text(pieces: list[str]) -> None:
    trace = of(pieces)
    prefixes = [trace.prefix(i) for i in range(len(trace) + 1)]
    assert prefixes[0] == ""
    assert prefixes[-1] == trace.text
    assert all(b.startswith(a) for a, b in pairwise(prefixes))


@given(st.lists(st.sampled_from(["a", " b", ".", "\n", "! ", "", "c.d"])))
def test_sentence_numbers_never_fall_and_never_leave_one_out_at_the_start(pieces) -> None:
    numbers = of(pieces).sentences
    assert len(numbers) == len(pieces)
    assert (np.diff(numbers) >= 0).all()
    assert not len(numbers) or numbers[0] == 0


def test_tokens_belong_to_the_sentence_they_begin_in() -> None:
    trace = of(["One", ".", " Two", "?!", ' "Three."', "\n", "Four"])
    assert trace.sentences.tolist() == [0, 0, 1, 1, 2, 2, 3]


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
