"""The slot cache, against lists of what each row ought to hold."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicCache

from trustllm_repro.models.decoding import GRAIN, SlotCache

LAYERS, HEADS, SIZE = 2, 2, 3


def filled(values: list[list[float]]) -> DynamicCache:
    """A usual cache; column c of row r holds values[r][c] in layer 0, and more in the others."""
    cache = DynamicCache()
    columns = torch.tensor(values)[:, None, :, None].expand(-1, HEADS, -1, SIZE)
    for layer in range(LAYERS):
        cache.update(columns + 100 * layer, -columns - 100 * layer, layer)
    return cache


def held(cache: SlotCache, row: int) -> list[float]:
    """What a row holds, seen to be the same in all heads, keys and values of all layers."""
    start = int(cache.start[row])
    found = []
    for i, layer in enumerate(cache.layers):
        keys = layer.keys[row, :, start : cache.length] - 100 * i
        values = -layer.values[row, :, start : cache.length] - 100 * i
        assert torch.equal(keys, values)
        assert (keys == keys[:1, :, :1]).all()
        found.append(keys[0, :, 0].tolist())
    assert all(f == found[0] for f in found)
    return found[0]


def step(cache: SlotCache, value: float) -> None:
    new = torch.full((cache.rows, HEADS, 1, SIZE), value)
    for i in range(LAYERS):
        keys, _ = cache.update(new + 100 * i, -new - 100 * i, i)
        filled = cache.layers[i].length
        assert filled <= keys.shape[2] <= min(filled + GRAIN - 1, cache.capacity)


def test_a_prompt_stands_at_the_right_end():
    cache = SlotCache(filled([[0.0]]), rows=3, capacity=10, length=4)
    cache.put(1, filled([[9.0, 9, 9, 9], [1.0, 2, 3, 4]]), 1, torch.tensor([1, 0, 1, 1]))
    assert held(cache, 1) == [1, 3, 4]
    assert held(cache, 0) == held(cache, 2) == []
    step(cache, 5)
    assert held(cache, 1) == [1, 3, 4, 5]
    # The columns to come are shown, up to the capacity here, but masked.
    some, later = [0, 0, 0, 0, 1, 1], [0] * 4
    want = [some + later, [0, 1, 1, 1, 1, 1, *later], some + later]
    assert cache.mask().int().tolist() == want


def test_few_widths_are_shown():
    cache = SlotCache(filled([[0.0]]), rows=1, capacity=150, length=1)
    widths = set()
    for _ in range(148):
        shown = cache.mask().shape[1]
        assert shown == cache.get_mask_sizes(1, 0)[0]
        widths.add(shown)
        step(cache, 1)
    assert sorted(widths) == [32, 64, 96, 128, 150]


def test_a_cleared_row_holds_no_nan():
    cache = SlotCache(filled([[0.0]]), rows=2, capacity=4, length=4)
    cache.put(0, filled([[float("nan")] * 4]), 0, torch.ones(4))
    cache.clear(0)
    assert all(
        torch.isfinite(t).all() for layer in cache.layers for t in (layer.keys, layer.values)
    )


ROWS = st.lists(
    st.lists(st.floats(1, 50, width=16), min_size=1, max_size=6), min_size=1, max_size=5
)


@given(ROWS, st.data())
def test_rows_survive_steps_and_moves(prompts, data):
    """Any order of steps, replacements and rebuilds leaves every row with its own tokens."""
    longest = max(map(len, prompts))
    cache = SlotCache(filled([[0.0]]), len(prompts), longest + 20, longest)
    rows = [list(p) for p in prompts]
    for row, prompt in enumerate(prompts):
        cache.put(row, filled([prompt]), 0, torch.ones(len(prompt)))
    for turn in range(data.draw(st.integers(0, 6))):
        what = data.draw(st.sampled_from(["step", "move", "replace"]))
        if what == "step":
            step(cache, 60 + turn)
            rows = [[*r, 60 + turn] for r in rows]
        elif what == "move":
            kept = data.draw(st.permutations(range(len(rows))))
            kept = kept[: data.draw(st.integers(1, len(kept)))]
            rows = [rows[k] for k in kept]
            length = max(map(len, rows)) + data.draw(st.integers(0, 3))
            cache.rebuild(kept, len(rows), length + 20, length)
        else:
            row = data.draw(st.integers(0, len(rows) - 1))
            rows[row] = data.draw(st.lists(st.just(55.0), min_size=1, max_size=cache.length))
            cache.put(row, filled([rows[row]]), 0, torch.ones(len(rows[row])))
        assert [held(cache, b) for b in range(len(rows))] == rows


def places(cache: SlotCache) -> list[int]:
    return [layer.keys.data_ptr() for layer in cache.layers]


def test_buffers_are_used_again_within_the_reserve():
    cache = SlotCache(filled([[0.0]]), rows=2, capacity=6, length=4, reserve=60)
    cache.put(1, filled([[1.0, 2.0, 3.0]]), 0, torch.ones(3))
    before = places(cache)
    for rows, capacity in ((6, 10), (1, 60), (2, 4)):
        cache.rebuild([1 if cache.rows == 2 else 0], rows, capacity, 4)
        assert held(cache, 0) == [1, 2, 3]
        assert places(cache) == before
        assert cache.layers[0].keys.shape == (rows, HEADS, capacity, SIZE)
    old = [layer.keys for layer in cache.layers]  # kept, so that its memory is not given out again
    cache.rebuild([0], 7, 10, 4)  # more than was foreseen
    assert held(cache, 0) == [1, 2, 3]
    assert places(cache) != [keys.data_ptr() for keys in old]


def test_a_new_shape_holds_nothing_old():
    cache = SlotCache(filled([[0.0]]), rows=2, capacity=6, length=6)
    cache.put(0, filled([[float("nan")] * 6]), 0, torch.ones(6))
    cache.put(1, filled([[5.0]]), 0, torch.ones(1))
    cache.rebuild([1], 3, 4, 2)
    assert held(cache, 0) == [5]
    for layer in cache.layers:
        assert torch.isfinite(layer.keys).all()
        assert int((layer.keys != 0).sum()) == HEADS * SIZE
