"""Words as they come; VR, VRO, SelfCheckGPT by hand and as defined; classifiers and replies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.online.made import trace, words
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors import texts as module
from trustllm_repro.online.monitors.texts import (
    BUCKETS,
    MONITORS,
    POSITIONS,
    Reading,
    Words,
    by_words,
    checkpoints,
    held,
    sentences,
    vr,
    vro,
)


def both(texts) -> tuple[float, float]:
    """VR and VRO of an answer, the first, and further ones."""
    return tuple(statistic(by_words, texts[0], texts[1:]) for statistic in (vr, vro))


def test_identical_answers_have_no_variation() -> None:
    assert both(["a red tram"] * 4) == (0, 0)


def test_answers_with_no_word_in_common_have_all() -> None:
    assert both(["red", "green", "blue", "black"]) == (1, 1)


def test_the_greedy_answer_stands_apart() -> None:
    assert both(["red", "green", "green", "green"]) == (0, 1)


@given(st.lists(st.text("ab ", max_size=6), min_size=3, max_size=6))
def test_as_their_definitions(texts) -> None:
    d = by_words(texts)
    t = len(texts) - 1
    outer = [np.mean([1 - d[i, j] for j in range(1, t + 1) if j != i]) for i in range(1, t + 1)]
    found = both(texts)
    assert found[0] == pytest.approx(1 - np.mean(outer))
    assert found[1] == pytest.approx(1 - np.mean([1 - d[0, i] for i in range(1, t + 1)]))
    assert np.array_equal(d, d.T)
    assert d.min() >= 0
    assert d.max() <= 1


def test_too_few_answers_are_no_variation_of_zero() -> None:
    assert np.isnan(both(["a", "b"])[0])
    assert np.isnan(both(["a"])[1])


@pytest.mark.parametrize(
    ("n", "at"), [(0, []), (1, [1]), (8, [8]), (9, [8, 9]), (40, [8, 16, 32, 40])]
)
def test_the_end_is_always_a_checkpoint(n: int, at: list[int]) -> None:
    assert checkpoints(n, (8, 16, 32, 64)) == at


VR, VRO = (next(m for m in MONITORS if m.name == f"sample {n}, words") for n in ("VR", "VRO"))
MEAN, MOST, EMBEDDING, _ = (m for m in MONITORS if m.name.startswith("SelfCheck"))
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


@pytest.mark.parametrize(
    ("entropy", "places"),
    [([3.0, 1.0, 2.5, 2.0], [0, 1, 2]), ([1.0], [0, 0, 0]), ([0.0, 0.0, 4.0], [2, 0, 2])],
)
def test_positions(entropy, places) -> None:
    assert [p(np.array(entropy)) for p in POSITIONS.values()] == places


def test_scores_come_at_the_end() -> None:
    branches = {"entropy jump": ["one two", "one two"], "maximum entropy": ["six", "seven"]}
    found = {
        m.name: m([Generation(words("one two"), branches=branches)])[0]
        for m in MONITORS
        if "pert" in m.name
    }
    assert all(np.isnan(s[0]) for s in found.values())
    assert found["perturbation VR, entropy jump"][1] == 0
    assert found["perturbation VRO, entropy jump"][1] == 0
    assert found["perturbation VR, maximum entropy"][1] == 1
    assert found["perturbation VRO, maximum entropy"][1] == 1
    assert np.isnan(found["perturbation VRO, minimum entropy"][1])  # no branches were made


BY_NAME = {m.name: m for m in MONITORS}
LENGTHS = replace(
    BY_NAME["guard: toxicity"],
    classifier=lambda texts: np.array([len(t) for t in texts]),
    at=(1, 3),
)


def test_prefixes_are_classified_and_held() -> None:
    seen = [Generation(words("aa bb cc dd")), Generation(words("")), Generation(words("e"))]
    assert [s.tolist() for s in LENGTHS(seen)] == [[2, 2, 8, 11], [], [1]]


def test_the_committed_judges_tell_refusals_and_insults() -> None:
    toxicity, compliance = BY_NAME["guard: toxicity"], BY_NAME["guard: compliance"]
    refusal = Generation(words("I'm sorry, but I can't help with that."))
    insult = Generation(words("You are such a stupid idiot, shut up."))
    kind = Generation(words("Trams are a fine way to see the old town."))
    assert toxicity([insult])[0][-1] > 2 * toxicity([kind])[0][-1]
    assert compliance([refusal])[0][-1] < 0.2 < compliance([kind])[0][-1]


def test_replies_hold_until_the_next() -> None:
    examined, supported = BY_NAME["self-examination"], BY_NAME["SelfCheck prompt"]
    seen = Generation(words("a b c d"), replies={"harmful": np.array([[4, 0.9], [2, 0.1]])})
    scores = examined([seen])[0]
    assert np.isnan(scores[0])
    assert scores[1:].tolist() == [0.1, 0.1, 0.9]
    assert np.isnan(supported([seen])[0]).all()


@given(st.integers(0, 9), st.lists(st.tuples(st.integers(1, 9), st.floats(-5, 5)), max_size=4))
def test_held_scores_are_those_of_the_last_checkpoint(n: int, points) -> None:
    points = [p for p in dict(points).items() if p[0] <= n]
    scores = held(n, [p[0] for p in points], [p[1] for p in points])
    assert len(scores) == n
    for t in range(1, n + 1):
        past = [p for p in points if p[0] <= t]
        assert np.isnan(scores[t - 1]) if not past else scores[t - 1] == max(past)[1]


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
    assert reading.words == len(module._WORD.findall(text))
