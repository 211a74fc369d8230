"""Word lists as patterns: the same words match, and every list is one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.parsers.language import NO, YES, as_group, either, words

listed = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=8, unique=True)


@given(listed, st.text("abc", max_size=6))
def test_a_group_matches_its_words_alone(some: list[str], text: str) -> None:
    assert bool(re.fullmatch(as_group("|".join(some)), text)) == (text in some)


def test_line_breaks_and_blanks() -> None:
    assert re.fullmatch(as_group("\nas well\n|so\n"), "as well")
    assert re.fullmatch(either("of_course so"), "of course")


@pytest.mark.parametrize("name", sorted(vars(words)))
def test_every_list_is_a_pattern_without_gaps(name: str) -> None:
    pattern = as_group(getattr(words, name))
    re.compile(pattern)
    assert not re.search(r"<[a-z_]+>|\|\||\|\)$", pattern)  # a list not filled in; an empty word


def test_yes_and_no_are_told_apart() -> None:
    assert [bool(re.match(pattern, "yes, it is")) for pattern in (YES[0], NO[0])] == [True, False]
    assert [bool(re.match(pattern, "no, it is")) for pattern in (YES[0], NO[0])] == [False, True]
