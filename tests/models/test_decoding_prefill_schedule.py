"""Shared beginnings and the order of answering, against definitions written out."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.models.decoding import schedule, shared_prefixes

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)
# Few beginnings, many ends, so that prompts do share something.
BEGUN = st.builds(lambda a, b: (5,) * a + b, st.sampled_from([0, 3, 6]), TOKENS)
PROMPTS = st.lists(BEGUN, max_size=24)
LEAST, SHARE = st.integers(1, 6), st.integers(2, 5)


@given(PROMPTS, LEAST, SHARE)
def test_a_prefix_is_the_longest_beginning_shared_often_enough(prompts, least, share):
    def sharers(start) -> int:
        return sum(p[: len(start)] == start for p in prompts)

    for prompt, n in zip(prompts, shared_prefixes(prompts, least, share), strict=True):
        fitting = [k for k in range(1, len(prompt) + 1) if sharers(prompt[:k]) >= share]
        longest = min(max(fitting, default=0), len(prompt) - 1)
        assert n == (longest if longest >= least else 0)


@given(PROMPTS, LEAST, SHARE)
def test_the_schedule_holds_every_prompt_once_and_keeps_groups_together(prompts, least, share):
    planned = schedule(prompts, least, share)
    assert sorted(p.index for p in planned) == list(range(len(prompts)))
    assert all(p.tokens == prompts[p.index] for p in planned)
    groups = [
        (start, list(group))
        for start, group in groupby(planned, key=lambda p: p.tokens[: p.prefix])
    ]
    starts = [start for start, _ in groups]
    assert len(starts) == len(set(starts))
    for start, group in groups:
        assert all(len(p.tokens) > len(start) for p in group)  # something is left to read
        sizes = [len(p.tokens) for p in group]
        assert sizes == sorted(sizes, reverse=True)
    firsts = [len(group[0].tokens) for _, group in groups]
    assert firsts == sorted(firsts, reverse=True)


@given(PROMPTS, LEAST, SHARE)
def test_what_is_shared_does_not_depend_on_the_order_of_the_prompts(prompts, least, share):
    ahead = sorted((p.tokens, p.prefix) for p in schedule(prompts, least, share))
    back = sorted((p.tokens, p.prefix) for p in schedule(prompts[::-1], least, share))
    assert ahead == back


def test_nothing_shared_nothing_found():
    assert shared_prefixes([], 1, 2) == []
    assert schedule([], 1) == []
    assert [p.prefix for p in schedule([(1, 2), (2, 1)], 1, 2)] == [0, 0]
    assert [p.prefix for p in schedule([(1, 2)] * 2, 1, 3)] == [0, 0]
