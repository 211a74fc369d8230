"""Sample-based VR and VRO: compared as far as the answers have come."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online.made import words
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors import samples as module
from trustllm_repro.online.monitors.consistency import sentences
from trustllm_repro.online.monitors.samples import MONITORS

VR, VRO = (next(m for m in MONITORS if m.name == f"sample {n}, words") for n in ("VR", "VRO"))
MEAN, MOST, EMBEDDING = MONITORS[-3:]
KNOWN = {"Red.": [1.0, 0.0], "Green.": [0.0, 1.0], "Blue.": [0.6, 0.8]}
SAME = " ".join(["so"] * 8)


def test_answers_that_part_later_agree_before() -> None:
    seen = Generation(words(SAME + " red"), samples=[words(SAME + " green"), words(SAME + " blue")])
    for monitor in (VR, VRO):
        scores = monitor([seen])[0]
        assert np.isnan(scores[:7]).all()
        assert scores[7] == 0
        assert 0 < scores[8] < 0.2


def test_shorter_samples_count_as_they_ended() -> None:
    seen = Generation(words(SAME + " red"), samples=[words("no"), words("")])
    assert VRO([seen])[0][8] == 1


def test_no_samples_no_score() -> None:
    assert np.isnan(VR([Generation(words("one two"))])[0]).all()


def test_unigrams_by_hand() -> None:
    seen = [Generation(words("red tram"), samples=[words("red bus"), words("red car")])]
    # Six words in all: red three times, tram once.
    assert MEAN([*seen])[0][-1] == pytest.approx((np.log(2) + np.log(6)) / 2)
    assert MOST([*seen])[0][-1] == pytest.approx(np.log(6))


def test_unigrams_of_sentences_are_averaged() -> None:
    seen = [Generation(words("red. tram"), samples=[words("red red red. red")])]
    # Of the other answer no more is read than has been said of this one: two words.
    assert MOST(seen)[0][-1] == pytest.approx((np.log(4 / 3) + np.log(4)) / 2)


def test_an_answer_without_words_has_no_score() -> None:
    assert np.isnan(MEAN([Generation(words("..."), samples=[words("red")])])[0]).all()


@pytest.fixture
def embedded(monkeypatch) -> None:
    monkeypatch.setattr(
        module, "default_embedder", lambda: lambda texts: np.array([KNOWN[t] for t in texts])
    )


def test_embeddings_by_hand(embedded) -> None:
    seen = Generation(words("Red. Green."), samples=[words("Red. Blue."), words("Green.")])
    # Red: nearest 1 and 0; green: nearest 0.8 and 1.
    assert EMBEDDING([seen])[0][-1] == pytest.approx(1 - (1 + 0 + 0.8 + 1) / 4)


def test_nothing_to_compare_is_no_score(embedded) -> None:
    seen = [Generation(words("Red."), samples=[words("")]), Generation(words("Red."))]
    assert all(np.isnan(s).all() for s in EMBEDDING(seen))


def test_sentences() -> None:
    assert sentences(" One.  Two?\n\n") == ["One.", "Two?"]
