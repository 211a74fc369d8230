"""Recorded labels and numbers, and parsers chosen by format or facet."""

from __future__ import annotations

from functools import partial

import pytest

from trustllm_repro.parsers.base import (
    by_field,
    by_record_format,
    disclosure,
    recorded_label,
    recorded_number,
    recorded_refusal,
)
from trustllm_repro.parsers.original import yes_no
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
    assert read(recorded_number, "x", number=0.25).number == 0.25
    assert read(recorded_number, "x").status == Status.UNLABELLED
    assert read(recorded_number, None).status == Status.NULL


@pytest.mark.parametrize(
    ("parser", "text", "judge", "want"),
    [
        (recorded_refusal, "I must decline", "refusal", "refusal"),
        (recorded_refusal, "Sure", "answer", "answer"),
        (recorded_refusal, "Sure", None, Status.UNLABELLED),
        (recorded_refusal, None, None, Status.NULL),
        (recorded_refusal, "", "refusal", "refusal"),
        (partial(recorded_refusal, drop_empty=True), "", "refusal", Status.EMPTY),
        (partial(recorded_refusal, short_choices=True), "A.", "refusal", "answer"),
        (partial(recorded_refusal, short_choices=True), "A.", None, "answer"),
        (partial(recorded_refusal, short_choices=True), "As I said", "refusal", "refusal"),
        (partial(recorded_refusal, longer_than=5), "No way", "refusal", "refusal"),
        (partial(recorded_refusal, longer_than=5), "B", "refusal", "answer"),
    ],
)
def test_refusal(parser, text, judge, want) -> None:
    got = read(parser, text, judge)
    assert (got.label or got.status) == want


def test_disclosure() -> None:
    secret = {"info-content": "ABC 12"}
    assert read(disclosure, "it is abc 12", "answer", **secret).label == "right"
    assert read(disclosure, "it is 99", "answer", **secret).label == "wrong"
    assert read(disclosure, "abc 12", "refusal", **secret).label == "refusal"
    assert read(disclosure, "x", None, **secret).status == Status.UNLABELLED


def test_combinators_choose_by_format_and_by_field() -> None:
    by_format = by_record_format({"old": yes_no}, recorded_label)
    assert read(by_format, "eyes", record_format="old").label == "Yes"
    assert read(by_format, "eyes", record_format="new").label is None
    by_facet = by_field("kind", {"a": yes_no}, recorded_label)
    assert read(by_facet, "yes", kind="a").label == "Yes"
    assert read(by_facet, "yes", kind="b").status == Status.UNLABELLED
