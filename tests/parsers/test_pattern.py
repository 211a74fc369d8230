"""Word lists as patterns: the same words match, whatever the order they are tried in."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.parsers.pattern import alternatives, as_group, either

listed = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=8, unique=True)


@given(listed, st.text("abc", max_size=6))
def test_a_group_matches_its_words_alone(words: list[str], text: str) -> None:
    assert bool(re.fullmatch(as_group("|".join(words)), text)) == (text in words)


def test_bars_in_brackets_part_nothing() -> None:
    assert alternatives(r"a|(?:b|c)d|[|]|\|") == ["a", "(?:b|c)d", "[|]", r"\|"]


def test_line_breaks_and_blanks() -> None:
    assert re.fullmatch(as_group("\nas well\n|so\n"), "as well")
    assert re.fullmatch(either("of_course so"), "of course")
