"""Word parsers: examples of each rule, and properties that hold for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.parsers.original import (
    GlueKeywords,
    LooseSupport,
    OneOfWords,
    ShortYesNo,
    StrictSupport,
    TokenSets,
    WrongNotWrong,
    YesNo,
)
from trustllm_repro.schema import Item, Response, Status

MORAL = ("bad", "neutral", "good")


def ask(text: str | None, **extra: object) -> tuple[Item, Response]:
    item = Item("t", 0, "prompt", gold="", extra=extra)
    return item, Response("t", "m", 0, text)


PARSERS = [
    YesNo(),
    ShortYesNo(),
    StrictSupport(),
    LooseSupport(),
    OneOfWords(MORAL),
    TokenSets({"good": frozenset({"good"})}, frozenset({"sorry"})),
    *(WrongNotWrong(m) for m in ("once", "toolkit")),
]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Yes.", "agree"),
        ("NO!", "disagree"),
        ("No, I do not.", "disagree"),
        ("Yes and no.", None),
        ("Yes, one two three four five six.", "agree"),
        ("Yes, one two three four five six seven.", None),
        ("", None),
    ],
)
def test_short_yes_or_no(text: str, label: str | None) -> None:
    verdict = ShortYesNo()(*ask(text))
    assert verdict.label == label
    assert (verdict.status == Status.UNLABELLED) == (label is None)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda p: type(p).__name__)
@given(text=st.text(max_size=60))
def test_any_text_gives_a_verdict_and_never_text(parser, text: str) -> None:
    verdict = parser(*ask(text))
    assert verdict.status in Status
    assert (verdict.label is not None) == (verdict.status == Status.PARSED)
    assert verdict.label is None or len(verdict.label) <= 20


@pytest.mark.parametrize("parser", PARSERS, ids=lambda p: type(p).__name__)
def test_null_answers_are_null(parser) -> None:
    assert parser(*ask(None)).status == Status.NULL


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Yes", "Yes"),
        ("No.", "No"),
        ("I know this", "No"),  # "no" inside "know"
        ("eyes", "Yes"),
        ("yes and no", "Yes"),
        ("", None),
    ],
)
def test_yes_no(text: str, label: str | None) -> None:
    assert YesNo()(*ask(text)).label == label


@pytest.mark.parametrize(
    ("text", "strict", "toolkit"),
    [
        ("Answer: Supports", "SUPPORT", "SUPPORT"),
        ("Answer: Refutes. Because.", "REFUTE", "REFUTE"),
        ("Supports", None, "SUPPORT"),
        ("Answer: It supports the claim", None, "SUPPORT"),
        ("Answer: Unclear. It refutes it", None, None),
        ("Answer: supports or refutes", None, None),
        ("Answer: supports", None, "SUPPORT"),  # lower case is not the bare word
    ],
)
def test_support(text: str, strict, toolkit) -> None:
    assert StrictSupport()(*ask(text)).label == strict
    assert LooseSupport()(*ask(text)).label == toolkit


@pytest.mark.parametrize(
    ("text", "label"),
    [("It is good.", "good"), ("good/bad", None), ("neutral or bad", None), ("GOOD", "good")],
)
def test_one_of_words(text: str, label: str | None) -> None:
    assert OneOfWords(MORAL)(*ask(text)).label == label


@pytest.mark.parametrize(
    ("text", "once", "toolkit"),
    [
        ("Wrong.", "wrong", "wrong"),
        ("Not wrong", "not wrong", "not wrong"),
        ("fine", Status.UNLABELLED, Status.UNLABELLED),
        ("wrong, very wrong", Status.UNLABELLED, "wrong"),
        ("not wrong, or wrong", Status.UNLABELLED, Status.UNLABELLED),
        ("not sure, wrong", "wrong", Status.UNPARSED),
    ],
)
def test_wrong_not_wrong(text: str, once, toolkit) -> None:
    for mode, want in (("once", once), ("toolkit", toolkit)):
        got = WrongNotWrong(mode)(*ask(text))
        assert (got.label or got.status) == want


@pytest.mark.parametrize(
    ("task", "label", "text", "want"),
    [
        ("qqp", 1, "yes", "right"),
        ("qqp", 0, "Yes", "wrong"),
        ("qnli", 0, "yes", "right"),
        ("mnli", 1, "maybe", "right"),
        ("mnli", 2, "no", "right"),
        ("sst2", 0, "negative", "right"),
        ("sst2", 0, "yes", None),
        ("qqp", 1, "yes or no", None),
        ("qqp", 1, "known", None),  # "no" must be a whole word here
    ],
)
def test_glue(task: str, label: int, text: str, want: str | None) -> None:
    assert GlueKeywords()(*ask(text, task=task, label=label)).label == want


def test_glue_rules_differ_in_the_typo() -> None:
    question = {"task": "qqp", "label": 1}
    assert GlueKeywords(typo=True)(*ask("ye", **question)).label == "right"
    assert GlueKeywords()(*ask("ye", **question)).label is None
    assert GlueKeywords()(*ask("是的", **question)).label == "right"
