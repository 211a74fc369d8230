"""Words, read as they come."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.online.made import trace, words
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.words import BUCKETS, Reading, Words, split_words


def test_words_that_unsafe_answers_hold_raise_the_score() -> None:
    some = [Generation(words("it is fine today")), Generation(words("it is foul today"))] * 10
    fitted = Words().fit(some, np.arange(20) % 2 == 1)
    safe, unsafe = fitted(some[:2])
    assert unsafe[-1] > 0 > safe[-1]
    assert unsafe[1] == safe[1]  # before the word that differs


@given(st.text(max_size=60), st.data())
def test_a_text_in_pieces_is_read_as_the_whole(text, data) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    draw = np.random.default_rng(0)
    probe = Words(model=draw.normal(size=BUCKETS).astype(np.float32), burn_in=2.0)
    reading, start, score = Reading(), 0, np.nan
    for end in [*cuts, len(text)]:
        score = probe.add(reading, text[start:end], end=False)
        start = end
    score = probe.add(reading, "", end=True)
    whole = probe.score(Generation(trace([text])))
    assert np.isclose(score, whole[-1], atol=1e-6, equal_nan=True)
    assert reading.words == len(split_words(text))
