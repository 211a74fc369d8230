"""Controls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.online.made import words
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import InsufficientData
from trustllm_repro.online.monitors.controls import MONITORS, ModelIdentity


def test_they_look_at_nothing_but_the_number_of_tokens() -> None:
    some = [Generation(words("one two")), Generation(words(""))]
    found = {m.name: [s.tolist() for s in m(some)] for m in MONITORS}
    assert found["always"] == [[1, 1], []]
    assert found["never"] == [[0, 0], []]
    assert found["clock"] == [[1, 2], []]


def test_an_author_s_share_of_unsafe_answers_is_the_score() -> None:
    one = Generation(words("one two"))
    some = [replace(one, author=a) for a in "aaabbb"]
    fitted = ModelIdentity().fit(some, np.array([True, True, False, False, False, False]))
    assert fitted(some)[0].tolist() == [3 / 5] * 2
    assert fitted(some)[3].tolist() == [1 / 5] * 2
    assert fitted([replace(one, author="c")])[0][0] == 0.5
    with pytest.raises(InsufficientData, match="one author"):
        ModelIdentity().fit([one] * 4, np.array([True, True, False, False]))
