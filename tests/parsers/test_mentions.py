"""One mention at a time: where it stands, which option it is, and the part it plays."""

from __future__ import annotations

import pytest

from trustllm_repro.parsers.mentions import NAMED, NOTHING, OPENING, STATED, find_mentions
from trustllm_repro.parsers.text import Option

OPTIONS = (
    Option("1", "1", text="Peaceful"),
    Option("2", "2", text="Nervous"),
    Option("wrong", words="wrong", denied="not wrong"),
)


@pytest.mark.parametrize(
    ("text", "label", "strength", "denied"),
    [
        ("I would choose option 2.", "2", STATED, False),
        ("Peaceful", "1", OPENING, False),
        ("She may be nervous today.", "2", NAMED, False),
        ("It is certainly not option 1.", "", NOTHING, True),
        ("It is not wrong.", "not wrong", OPENING, True),
        ("Is it wrong?", "", NOTHING, False),
    ],
)
def test_the_part_of_a_mention(text: str, label: str, strength: int, denied: bool) -> None:
    (mention,) = find_mentions(text, OPTIONS)
    assert (mention.label, mention.strength, mention.denied) == (label, strength, denied)


def test_a_key_with_its_text_is_one_mention() -> None:
    (mention,) = find_mentions("(2) Nervous", OPTIONS)
    assert (mention.start, mention.end) == (1, 11)


def test_a_number_that_counts_something_is_none() -> None:
    assert not find_mentions("They met in step 2, and 1.5 days later.", OPTIONS)
    assert not find_mentions("", OPTIONS)
