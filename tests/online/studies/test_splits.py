"""Splits: disjoint, complete, and no prompt in two parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.online.studies.splits import split


@given(st.lists(st.integers(0, 12).map(str), max_size=60), st.integers(0, 5))
def test_parts_are_disjoint_and_complete(groups, seed) -> None:
    found = split(groups, seed)
    parts = [set(p.tolist()) for p in (found.train, found.calibration, found.test)]
    assert sum(map(len, parts)) == len(groups) == len(set().union(*parts))
    prompts = [{groups[i] for i in p} for p in parts]
    assert not (prompts[0] & prompts[1] | prompts[0] & prompts[2] | prompts[1] & prompts[2])


def test_shares_and_seeds() -> None:
    groups = [str(i) for i in range(1000)]
    one = split(groups, 0)
    assert [len(p) for p in (one.train, one.calibration, one.test)] == [333, 334, 333]
    assert np.array_equal(one.test, split(groups, 0).test)
    assert not np.array_equal(one.test, split(groups, 1).test)


def test_large_groups_count_as_they_are() -> None:
    groups = ["a"] * 50 + [str(i) for i in range(950)]
    assert len(split(groups, 3).test) == pytest.approx(333, abs=30)
