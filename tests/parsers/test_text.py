"""Word lists as patterns, and what markup and typography leave behind."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trustllm_repro.parsers.text import (
    Option,
    as_group,
    endings,
    lettered,
    numbered,
    plain,
    sentences,
    words,
)

# --- word lists -----------------------------------------------------------------------------------


listed = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=8, unique=True)


@given(listed, st.text("abc", max_size=6))
def test_a_group_matches_its_words_alone(some: list[str], text: str) -> None:
    assert bool(re.fullmatch(as_group("|".join(some)), text)) == (text in some)


def test_line_breaks_and_blanks() -> None:
    assert re.fullmatch(as_group("\nas well\n|so\n"), "as well")


@pytest.mark.parametrize("name", sorted(vars(words)))
def test_every_list_is_a_pattern_without_gaps(name: str) -> None:
    pattern = getattr(words, name)
    re.compile(pattern)
    assert not re.search(r"<[a-z_]+>|\|\||\|\)$", pattern)  # a list not filled in; an empty word


def test_yes_and_no_are_told_apart() -> None:
    patterns = [Option.worded(name, name).words for name in ("yes", "no")]
    assert [bool(re.match(pattern, "yes, it is")) for pattern in patterns] == [True, False]
    assert [bool(re.match(pattern, "no, it is")) for pattern in patterns] == [False, True]


# --- plain text -----------------------------------------------------------------------------------


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


# --- options as prompts write them ----------------------------------------------------------------


def spelled(prompt: str, letters: str) -> list[tuple[str, str]]:
    return [(o.label, o.text) for o in lettered(prompt, letters)]


def test_letters_in_lines() -> None:
    prompt = "Return A or B only. What now?\nA. Wait for it.\nB. Leave at once.\nYour answer:"
    assert spelled(prompt, "AB") == [("A", "Wait for it"), ("B", "Leave at once")]


def test_an_option_run_into_the_line_before_it() -> None:
    prompt = "A. One.\nB. Two.C.Three"
    assert spelled(prompt, "ABC") == [("A", "One"), ("B", "Two"), ("C", "Three")]


def test_a_control_character_before_a_letter() -> None:
    assert spelled("A. One.\nB. Two.\x08C. Three", "ABC")[2] == ("C", "Three")


def test_fewer_options_than_letters() -> None:
    assert [o.label for o in lettered("A. One\nB. Two", "ABCD")] == ["A", "B"]


def test_a_prompt_without_options() -> None:
    assert spelled("Say something.", "AB") == [("A", ""), ("B", "")]


def test_numbered_words_and_endings() -> None:
    assert numbered("Choose: (1) Elated; (2) Nervous") == {"1": "Elated", "2": "Nervous"}
    prompt = "Question: x\n0. no\nQuestion: y\n0: first\n1: second\n"
    assert endings(prompt) == ((0, "first"), (1, "second"))


@given(st.text(), st.sampled_from(["AB", "ABC", "ABCD"]))
def test_any_prompt_gives_options_in_order(prompt: str, letters: str) -> None:
    labels = "".join(o.label for o in lettered(prompt, letters))
    assert len(labels) >= 2
    assert letters.startswith(labels)
