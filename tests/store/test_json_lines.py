"""Append-only lines: what a kill, a stranger or a second writer can do to the file, and cannot."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.errors import OutputError, SourceCorrupt
from trustllm_repro.store.atomic import JsonLines

# Every code point, lone surrogates included, and what some readers take for the end of a line.
TEXT = st.text(
    st.one_of(
        st.characters(codec=None, exclude_categories=()),
        st.sampled_from("\n\r\x1c\x85\u2028\u2029"),
    ),
    max_size=40,
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), TEXT, st.floats(allow_nan=False, allow_infinity=False)
)
ROWS = st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=5)
STRANGE = (
    b"not json", b"[1, 2]", b'"a string"', b"7", b"null", b"\xff\xfe", b"{", b"\x00", b"[" * 100_000,
)  # fmt: skip


@given(st.lists(ROWS, max_size=4))
def test_what_is_appended_is_read(tmp_path_factory, batches):
    lines = JsonLines(tmp_path_factory.mktemp("lines") / "deep" / "a.jsonl")
    for rows in batches:
        lines.append(rows)
    assert list(lines.read()) == [r for rows in batches for r in rows]


@given(ROWS, ROWS, st.data())
def test_a_torn_last_line_costs_that_line_only(tmp_path_factory, before, after, data):
    lines = JsonLines(tmp_path_factory.mktemp("lines") / "a.jsonl")
    lines.append([*before, {"last": "x" * 20}])
    whole = lines.path.read_bytes()
    last = len(whole) - (whole[:-1].rfind(b"\n") + 1)
    cut = data.draw(st.integers(2, last - 1))  # 1 would only take the line's end
    lines.path.write_bytes(whole[:-cut])
    lines.append(after)
    assert list(lines.read()) == [*before, *after]


def test_a_line_that_only_lost_its_end_counts(tmp_path):
    lines = JsonLines(tmp_path / "a.jsonl")
    lines.append([{"a": 1}, {"a": 2}])
    lines.path.write_bytes(lines.path.read_bytes()[:-1])
    lines.append([{"a": 3}])
    assert [r["a"] for r in lines.read()] == [1, 2, 3]


@pytest.mark.parametrize("strange", STRANGE, ids=lambda b: repr(b[:12]))
def test_strange_lines_are_skipped(tmp_path, strange):
    lines = JsonLines(tmp_path / "a.jsonl")
    lines.append([{"a": 1}])
    with open(lines.path, "ab") as f:
        f.write(b"\n  \n" + strange + b"\n")
    lines.append([{"a": 2}])
    assert [r["a"] for r in lines.read()] == [1, 2]


def test_no_file_reads_as_empty_and_appending_nothing_makes_it(tmp_path):
    lines = JsonLines(tmp_path / "new" / "a.jsonl")
    assert list(lines.read()) == []
    lines.append([])
    assert lines.path.read_bytes() == b""


def test_not_a_number_is_refused_before_anything_is_written(tmp_path):
    lines = JsonLines(tmp_path / "a.jsonl")
    with pytest.raises(ValueError):
        lines.append([{"a": 1}, {"a": float("nan")}])
    assert list(lines.read()) == []


def test_a_file_that_cannot_be_written_or_read_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file") as caught:
        JsonLines(tmp_path / "file" / "a.jsonl").append([{"a": 1}])
    assert caught.value.remedy
    with pytest.raises(SourceCorrupt, match="cannot be read") as unread:
        list(JsonLines(tmp_path).read())
    assert unread.value.remedy


def test_a_disk_that_fills_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    """A write that stops half way, as the system call does on a full disk."""
    lines = JsonLines(tmp_path / "a.jsonl")
    lines.append([{"a": 1}])
    before, write = lines.path.read_bytes(), os.write

    def half(handle: int, data) -> int:
        if len(data) <= 8:
            raise OSError(28, "No space left on device")
        return write(handle, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OutputError, match="No space left"):
        lines.append([{"a": "x" * 100}])
    monkeypatch.undo()
    assert lines.path.read_bytes() == before
    lines.append([{"a": 2}])
    assert [r["a"] for r in lines.read()] == [1, 2]


def test_lines_are_plain_ascii(tmp_path):
    """So that no reader splits an answer at U+2028 or stumbles over a lone surrogate."""
    lines = JsonLines(tmp_path / "a.jsonl")
    lines.append([{"text": "\u2028 \ud800 ü \n"}])
    data = lines.path.read_bytes()
    assert data.isascii()
    assert len(data.splitlines()) == 1
    assert json.loads(data) == {"text": "\u2028 \ud800 ü \n"}
