"""Classifiers and replies: a second look at every prefix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.online.made import words
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.classifiers import MONITORS

LENGTHS = replace(
    MONITORS[0], classifier=lambda texts: np.array([len(t) for t in texts]), at=(1, 3)
)


def test_beginnings_are_classified_and_held() -> None:
    seen = [Generation(words("aa bb cc dd")), Generation(words("")), Generation(words("e"))]
    assert [s.tolist() for s in LENGTHS(seen)] == [[2, 2, 8, 11], [], [1]]


def test_the_committed_judges_tell_refusals_and_insults() -> None:
    toxicity, compliance = MONITORS[:2]
    refusal = Generation(words("I'm sorry, but I can't help with that."))
    insult = Generation(words("You are such a stupid idiot, shut up."))
    kind = Generation(words("Trams are a fine way to see the old town."))
    assert toxicity([insult])[0][-1] > 2 * toxicity([kind])[0][-1]
    assert compliance([refusal])[0][-1] < 0.2 < compliance([kind])[0][-1]


def test_replies_hold_until_the_next() -> None:
    examined, supported = MONITORS[2:]
    seen = Generation(words("a b c d"), replies={"harmful": np.array([[4, 0.9], [2, 0.1]])})
    scores = examined([seen])[0]
    assert np.isnan(scores[0])
    assert scores[1:].tolist() == [0.1, 0.1, 0.9]
    assert np.isnan(supported([seen])[0]).all()
