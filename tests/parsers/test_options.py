"""Options as prompts write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.parsers.options import endings, lettered, numbered


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
