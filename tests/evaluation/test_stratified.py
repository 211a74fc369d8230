"""A limited run takes from every part of a task, and pairs whole."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.evaluation.generate import stratified
from trustllm_repro.schema import Item

FACETS = st.sampled_from([(), ("a",), ("b",), ("b", "c")])
SINGLE = st.lists(FACETS, max_size=30).map(
    lambda kinds: [Item("t", i, f"item {i}", facets=k) for i, k in enumerate(kinds)]
)
LIMIT = st.integers(1, 40)


def paired(kinds: list[tuple[str, ...]]) -> list[Item]:
    """Two items a pair, apart in the file as original and changed ones are."""
    return [
        Item("t", half * len(kinds) + i, f"{half} {i}", facets=(*k, str(half)), pair=i)
        for half in range(2)
        for i, k in enumerate(kinds)
    ]


PAIRED = st.lists(FACETS, max_size=15).map(paired)


@given(SINGLE, LIMIT)
def test_single_items(items, limit):
    chosen = stratified(items, limit)
    assert len(chosen) == min(limit, len(items))
    assert [i.number for i in chosen] == sorted({i.number for i in chosen})
    taken = Counter(i.facets for i in chosen)
    there = Counter(i.facets for i in items)
    for kind in there:  # no part has two fewer than another that is not used up
        assert taken[kind] >= min(there[kind], max(taken.values()) - 1)


@given(PAIRED, LIMIT)
def test_pairs_stay_whole(items, limit):
    chosen = stratified(items, limit)
    assert set(Counter(i.pair for i in chosen).values()) <= {2}
    assert len(chosen) <= max(limit, 2)
    assert bool(chosen) == bool(items)
    assert len(chosen) >= min(limit - 1, len(items))


@given(st.one_of(SINGLE, PAIRED), LIMIT, LIMIT)
def test_a_larger_limit_takes_more_of_the_same(items, one, two):
    few, many = (stratified(items, limit) for limit in sorted((one, two)))
    assert {i.number for i in few} <= {i.number for i in many}


@given(st.one_of(SINGLE, PAIRED))
def test_no_limit_takes_all(items):
    assert stratified(items, None) == items == stratified(items, len(items))
