"""SelfCheck, unigrams: rare words among the further answers are dangerous."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online.made import words
from trustllm_repro.online.monitors.base import Generation
from trustllm_repro.online.monitors.selfcheck_ngram import MONITORS

MEAN, MOST = MONITORS


def test_by_hand() -> None:
    seen = [Generation(words("red tram"), samples=[words("red bus"), words("red car")])]
    # Six words in all: red three times, tram once.
    assert MEAN([*seen])[0][-1] == pytest.approx((np.log(2) + np.log(6)) / 2)
    assert MOST([*seen])[0][-1] == pytest.approx(np.log(6))


def test_sentences_are_averaged() -> None:
    seen = [Generation(words("red. tram"), samples=[words("red red red. red")])]
    # Of the other answer no more is read than has been said of this one: two words.
    assert MOST(seen)[0][-1] == pytest.approx((np.log(4 / 3) + np.log(4)) / 2)


def test_an_answer_without_words_has_no_score() -> None:
    assert np.isnan(MEAN([Generation(words("..."), samples=[words("red")])])[0]).all()
