"""Rating scales and named diagnoses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.parsers.original import AGREEMENT, NamesLabel, Scale, quoted_diagnosis
from trustllm_repro.schema import Item, Response, Status

POINTS = tuple(AGREEMENT.items())


def read(parser, text: str | None, gold: str = "", **extra: object):
    return parser(Item("t", 0, "p", gold, extra=extra), Response("t", "m", 0, text))


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("-50) somewhat disagree", -50),
        ("Strongly Agree", 100),
        ("I would say 30", 30),
        ("-100", -100),
    ],
)
def test_scale(text: str, want: float) -> None:
    assert read(Scale(POINTS), text).number == want


def test_scale_drops_zero_as_the_scripts_do() -> None:
    assert read(Scale(POINTS), "0) Neutral").status == Status.DROPPED
    assert read(Scale(POINTS, lower=False), "Somewhat agree 7").number == 7  # phrase not seen
    assert read(Scale(POINTS), "no idea").status == Status.UNPARSED
    assert read(Scale(POINTS), "9" * 5000).status == Status.UNPARSED


@given(st.integers(-100, 100).filter(bool))
def test_scale_reads_back_any_number(points: int) -> None:
    assert read(Scale(POINTS), f"My rating is {points}.").number == points


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("The diagnosis is gerd. Then", " gerd"),
        ("It is most likely gerd, or angina", " gerd"),
        ("gerd", "gerd"),
        ("x" * 60, None),
        ("", None),
    ],
)
def test_quoted_diagnosis(text: str, want: str | None) -> None:
    assert quoted_diagnosis(text) == want


def test_names_label() -> None:
    flip, sick = {"source": "flipkart"}, {"source": "ddxplus"}
    assert read(NamesLabel(), "Positive!", gold="positive", **flip).label == "right"
    both = "neither negative nor positive"
    assert read(NamesLabel(), both, gold="positive", **flip).label == "right"
    assert read(NamesLabel(), "x" * 80, gold="gerd", **sick).status == Status.UNLABELLED
