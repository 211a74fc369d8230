"""Traces: prefixes, sentences, where tokens end in the text; and on disk: nothing lost, nothing doubled,
damage named."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.errors import OutputError, SourceCorrupt
from trustllm_repro.online.generations.generation import (
    SUFFIX,
    Trace,
    load_traces,
    save_traces,
    sentence_ends,
    token_ends,
)


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


def drawn(n: int, seed: int = 0, text: str = "") -> Trace:
    draw = np.random.default_rng(seed)
    return Trace(
        "",
        draw.integers(0, 99, n).astype(np.int32),
        text or "x" * n,
        np.arange(1, n + 1, dtype=np.int32),
        *draw.normal(size=(2, n)).astype(np.float32),
        draw.integers(0, 99, (n, 5)).astype(np.int32),
        draw.normal(size=(n, 5)).astype(np.float32),
        np.arange(n % 4, dtype=np.int32),
        np.zeros(n % 4, np.float32),
        {2: draw.normal(size=(n, 8)).astype(np.float16), 7: np.zeros((n, 8), np.float16)},
        "stop",
        11,
    )


def same(a: Trace, b: Trace) -> bool:
    plain = ("text", "finish", "prompt_tokens")
    arrays = ("ids", "ends", "logp", "entropy", "top_ids", "top_logp",
              "first_ids", "first_logp")  # fmt: skip
    return (
        all(getattr(a, n) == getattr(b, n) for n in plain)
        and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays)
        and all(getattr(a, n).dtype == getattr(b, n).dtype for n in arrays)
        and a.hidden.keys() == b.hidden.keys()
        and all(np.array_equal(a.hidden[k], b.hidden[k]) for k in a.hidden)
    )


def save(folder, *traces: Trace) -> None:
    save_traces(folder, traces)


def test_what_is_written_is_read(tmp_path) -> None:
    given = {f"k{i}": replace(drawn(n, i), key=f"k{i}") for i, n in enumerate((3, 0, 1, 40))}
    given["odd"] = replace(drawn(2, 9, "\u00e9\x00"), key="odd")
    made = list(given.values())
    save(tmp_path / "t", *made[:2])
    save(tmp_path / "t", *made[2:])
    found = load_traces(tmp_path / "t", set(given))
    assert found.keys() == given.keys()
    assert all(same(found[k], given[k]) and found[k].key == k for k in given)
    assert load_traces(tmp_path / "t", {"k3"}).keys() == {"k3"}


def test_no_folder_is_no_trace_and_no_batch_no_file(tmp_path) -> None:
    save(tmp_path / "none")
    assert load_traces(tmp_path / "none", {"a"}) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_trace_made_twice_is_read_once(tmp_path) -> None:
    for keys in ("ab", "bc"):
        save(tmp_path, *(replace(drawn(3), key=k) for k in keys))
    assert sorted(load_traces(tmp_path, set("abc"))) == ["a", "b", "c"]


@pytest.mark.parametrize("damage", [b"", b"no shard", None])
def test_a_damaged_shard_is_named(tmp_path, damage: bytes | None) -> None:
    save(tmp_path, drawn(30))
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage is None else damage)
    with pytest.raises(SourceCorrupt, match=path.name):
        load_traces(tmp_path, {""})


def test_what_a_kill_leaves_is_no_shard(tmp_path) -> None:
    save(tmp_path, drawn(3))
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    (tmp_path / f".{path.name}-x.partial").write_bytes(b"half")
    assert load_traces(tmp_path, {""}).keys() == {""}


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save(tmp_path / "file", drawn(1))
