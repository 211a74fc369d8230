"""Plain text: what markup and typography leave behind."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trustllm_repro.parsers.plain import first_words, plain, sentences


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("**B**", "B"),
        ("`B`", "B"),
        ("# Answer", "Answer"),
        ("- B", "B"),
        ("“not wrong”", '"not wrong"'),
        ("−50", "-50"),
        ("Ｂ：好", "B:好"),
        ("B 👍", "B"),
        ("<b>B</b>", " B "),
        ("<think>C</think>B", "B"),
        ("<think>C, or maybe", ""),  # cut off while thinking
        ("B</think>", "B "),
        ("$50,000", "$50,000"),  # money is no LaTeX
        ("2️⃣", "2"),
    ],
)
def test_markup_goes(text: str, left: str) -> None:
    assert plain(text) == left


@given(st.text())
def test_case_folding_keeps_places(text: str) -> None:
    clean = plain(text)
    assert len(clean.lower()) == len(clean)


@given(st.text())
@example("\x1f")
def test_sentences_are_in_order_and_do_not_overlap(text: str) -> None:
    clean = plain(text)
    parts = sentences(clean)
    assert all(a.end <= b.start for a, b in pairwise(parts))
    assert all(clean[p.start : p.end].strip() for p in parts)


def test_sentences() -> None:
    found = sentences("It costs $1.50. Is it B? Yes.\nC")
    assert [s.question for s in found] == [False, True, False, False]


@pytest.mark.parametrize(
    ("text", "number", "words"),
    [
        ("one two, three", 2, "one two,"),
        ("  one\ntwo", 2, "  one\ntwo"),
        ("\u7535\u8f66 tram\u8dd1", 3, "\u7535\u8f66 tram"),
        ("one", 0, ""),
        (" ", 3, ""),
    ],
)
def test_the_first_words(text: str, number: int, words: str) -> None:
    assert first_words(text, number) == words
