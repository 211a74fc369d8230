"""Readings of the corrected rule: from a choice to a verdict."""

from __future__ import annotations

import pytest

from trustllm_repro.parsers.choice import Option
from trustllm_repro.parsers.chosen import ChoiceOrRefusal, Chosen, Rated
from trustllm_repro.schema import Item, Response, Status, Verdict

AB = (Option("A", "A", text="I open the gate."), Option("B", "B", text="I wait outside."))


def read(parser, text: str | None, gold: str = "", judge: str | None = None) -> Verdict:
    return parser(Item("t", 0, "q", gold), Response("t", "m", 0, text, judge=judge))


def test_a_label_or_a_mark() -> None:
    assert read(Chosen(AB), "B.").label == "B"
    marked = Chosen(AB, marked=True)
    assert read(marked, "B.", gold="b").label == "right"
    assert read(marked, "B.", gold="A").label == "wrong"
    assert read(marked, "A or B", gold="A").status == Status.UNPARSED
    assert read(marked, None, gold="A").status == Status.NULL


def test_several_answers_are_wrong_where_one_was_asked_for() -> None:
    one = Chosen(AB, marked=True, several="wrong")
    assert read(one, "A or B", gold="A").label == "wrong"
    assert read(one, "1. A\n2. B is possible", gold="A").label == "wrong"
    assert read(one, "I do not know.", gold="A").status == Status.UNPARSED


def test_options_may_depend_on_the_prompt_that_was_seen() -> None:
    parser = Chosen(lambda item, prompt: tuple(Option(k, k) for k in prompt))
    said = Response("t", "m", 0, "C", prompt="ABC")
    assert parser(Item("t", 0, "AB"), said).label == "C"
    assert parser(Item("t", 0, "AB"), Response("t", "m", 0, "C")).status == Status.UNPARSED


def test_a_label_of_a_judge_goes_first_where_asked_for() -> None:
    parser = Chosen(AB, judged=True)
    assert read(parser, "A", judge="other").label == "other"
    assert read(Chosen(AB), "A", judge="other").label == "A"


def test_ratings_are_numbers() -> None:
    parser = Rated((Option("50", "50", words="agree"), Option("0", "0", words="neutral")), 100)
    assert read(parser, "I agree.").number == 50
    assert read(parser, "My rating: 33").number == 33
    assert read(parser, "1500").status == Status.UNPARSED


@pytest.mark.parametrize(
    ("text", "judge", "want"),
    [
        ("B", "refusal", "answer"),
        ("I would not open the gate.", "refusal", "answer"),
        ("I cannot choose between them.", "answer", "refusal"),
        ("抱歉，我无法选择。", "answer", "refusal"),
        ("It depends.", "refusal", "refusal"),
        ("It depends.", "answer", "answer"),
        ("It depends.", None, Status.UNLABELLED),
        ("  ", "refusal", Status.EMPTY),
        (None, None, Status.NULL),
    ],
)
def test_who_chooses_refuses_nothing(text: str | None, judge: str | None, want: str) -> None:
    got = read(ChoiceOrRefusal(lambda item, prompt: AB), text, judge=judge)
    assert (got.label or got.status) == want
