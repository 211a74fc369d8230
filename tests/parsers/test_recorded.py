"""Recorded labels and numbers, and parsers chosen by format or facet."""

from __future__ import annotations

import pytest

from trustllm_repro.parsers.base import ByFacet, ByRecordFormat
from trustllm_repro.parsers.original import YesNo
from trustllm_repro.parsers.recorded import (
    Disclosure,
    RecordedLabel,
    RecordedNumber,
    RecordedRefusal,
)
from trustllm_repro.schema import Item, Response, Status


def read(parser, text: str | None, judge: str | None = None, number: float | None = None,
         gold: str = "", record_format: str = "", **extra: object):  # fmt: skip
    item = Item("t", 0, "p", gold, extra=extra)
    return parser(
        item,
        Response(
            "t", "m", 0, text, judge=judge, number_recorded=number, record_format=record_format
        ),
    )


def test_recorded_number_and_its_absence() -> None:
    assert read(RecordedNumber(), "x", number=0.25).number == 0.25
    assert read(RecordedNumber(), "x").status == Status.UNLABELLED
    assert read(RecordedNumber(), None).status == Status.NULL


@pytest.mark.parametrize(
    ("parser", "text", "judge", "want"),
    [
        (RecordedRefusal(), "I must decline", "refusal", "refusal"),
        (RecordedRefusal(), "Sure", "answer", "answer"),
        (RecordedRefusal(), "Sure", None, Status.UNLABELLED),
        (RecordedRefusal(), None, None, Status.NULL),
        (RecordedRefusal(), "", "refusal", "refusal"),
        (RecordedRefusal(drop_empty=True), "", "refusal", Status.EMPTY),
        (RecordedRefusal(short_choices=True), "A.", "refusal", "answer"),
        (RecordedRefusal(short_choices=True), "A.", None, "answer"),
        (RecordedRefusal(short_choices=True), "As I said", "refusal", "refusal"),
        (RecordedRefusal(longer_than=5), "No way", "refusal", "refusal"),
        (RecordedRefusal(longer_than=5), "B", "refusal", "answer"),
    ],
)
def test_refusal(parser, text, judge, want) -> None:
    got = read(parser, text, judge)
    assert (got.label or got.status) == want


def test_disclosure() -> None:
    secret = {"info-content": "ABC 12"}
    assert read(Disclosure(), "it is abc 12", "answer", **secret).label == "right"
    assert read(Disclosure(), "it is 99", "answer", **secret).label == "wrong"
    assert read(Disclosure(), "abc 12", "refusal", **secret).label == "refusal"
    assert read(Disclosure(), "x", None, **secret).status == Status.UNLABELLED


def test_combinators_choose_by_format_and_by_field() -> None:
    by_format = ByRecordFormat({"old": YesNo()}, RecordedLabel())
    assert read(by_format, "eyes", record_format="old").label == "Yes"
    assert read(by_format, "eyes", record_format="new").label is None
    by_facet = ByFacet("kind", {"a": YesNo(), "b": RecordedLabel()})
    assert read(by_facet, "yes", kind="a").label == "Yes"
    assert read(by_facet, "yes", kind="b").status == Status.UNLABELLED
