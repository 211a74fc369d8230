"""Traces on disk: nothing lost, nothing doubled, damage named."""

from __future__ import annotations

import numpy as np
import pytest

from trustllm_repro.errors import OutputError, SourceCorrupt
from trustllm_repro.online.generations.store import SUFFIX, TraceStore
from trustllm_repro.online.generations.trace import Trace


def trace(n: int, seed: int = 0, text: str = "") -> Trace:
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


def test_what_is_written_is_read(tmp_path) -> None:
    store = TraceStore(tmp_path / "t")
    given = {f"k{i}": trace(n, i) for i, n in enumerate((3, 0, 1, 40))}
    given["odd"] = trace(2, 9, "\u00e9\ud83d\ude00"[:1] + "\x00")
    store.add(list(given.items())[:2])
    store.add(list(given.items())[2:])
    found = TraceStore(tmp_path / "t").load()
    assert found.keys() == given.keys() == store.load().keys()
    assert all(same(found[k], given[k]) and found[k].key == k for k in given)
    assert store.load({"k3"}).keys() == {"k3"}


def test_no_folder_is_no_trace_and_no_batch_no_file(tmp_path) -> None:
    store = TraceStore(tmp_path / "none")
    store.add([])
    assert store.load() == {}


def test_a_trace_made_twice_is_read_once(tmp_path) -> None:
    one, two = TraceStore(tmp_path), TraceStore(tmp_path)
    one.add([("a", trace(3)), ("b", trace(2))])
    two.add([("b", trace(2)), ("c", trace(1))])
    assert sorted(one.load()) == ["a", "b", "c"]


@pytest.mark.parametrize("damage", [b"", b"no shard", None])
def test_a_damaged_shard_is_named(tmp_path, damage: bytes | None) -> None:
    store = TraceStore(tmp_path)
    store.add([("a", trace(30))])
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage is None else damage)
    with pytest.raises(SourceCorrupt, match=path.name):
        store.load()


def test_what_a_kill_leaves_is_no_shard(tmp_path) -> None:
    store = TraceStore(tmp_path)
    store.add([("a", trace(3))])
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    (tmp_path / f".{path.name}-x.partial").write_bytes(b"half")
    assert store.load().keys() == {"a"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        TraceStore(tmp_path / "file").add([("a", trace(1))])
