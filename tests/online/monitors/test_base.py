"""All monitors: one interface, kept by every file of the folder. Likelihood, entropy, controls: by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.online.made import part, trace, words
from trustllm_repro.errors import SettingsError
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors import base, probes, texts
from trustllm_repro.online.monitors.base import (
    First,
    Highest,
    InsufficientData,
    Last,
    Mean,
    ModelIdentity,
    Total,
    all_monitors,
    entropy_of,
)

MONITORS = all_monitors()
NEEDS_MODEL = {n for n in MONITORS if "meaning" in n or "embedding" in n}  # MiniLM


def answers(n: int = 12, tokens: int = 6) -> list[Generation]:
    """Complete answers: whatever a monitor needs is there."""
    draw = np.random.default_rng(3)
    pieces = ["The", " tram", " is", " red", ".", " Yes"][:tokens]
    found = []
    for i in range(n):
        one = trace(
            pieces,
            logp=-draw.random(tokens),
            entropy=draw.random(tokens),
            hidden=draw.normal(size=(tokens, 8)) + i % 2,
            first={k: -float(k) - (i % 2) * (k == 3) for k in range(1, 9)},
        )
        one = dataclasses.replace(one, hidden={1: one.hidden[1], 2: one.hidden[1]})
        others = [trace(pieces), trace(["A", " bus", "."])]
        branches = {
            k: ["The tram is blue."] * 2
            for k in ("maximum entropy", "minimum entropy", "entropy jump")
        }
        replies = {"harmful": np.array([[2, 0.3], [6, 0.6]]), "supported": np.array([[6, 0.1]])}
        found.append(
            Generation(
                one, "q", author="ab"[i % 2], samples=others, branches=branches, replies=replies
            )
        )
    return found


UNSAFE = np.arange(12) % 2 == 1


@pytest.mark.parametrize("name", sorted(set(MONITORS) - NEEDS_MODEL))
def test_every_monitor_scores_every_token(name: str) -> None:
    monitor = MONITORS[name].fit(answers(), UNSAFE)
    scores = monitor(answers())
    assert [len(s) for s in scores] == [6] * 12
    assert all(s.dtype == np.float64 for s in scores)
    assert all(np.isfinite(s[-1]) for s in scores)


@pytest.mark.parametrize("name", sorted(set(MONITORS) - NEEDS_MODEL))
def test_what_comes_later_changes_no_score(name: str) -> None:
    """Online means: the score after t tokens is that of the first t tokens."""
    whole = answers()
    monitor = MONITORS[name].fit(whole, UNSAFE)
    if name.startswith("perturbation"):
        pytest.skip("chooses its position in the whole answer, and says nothing before its end")
    early = monitor([dataclasses.replace(s, trace=part(s.trace, 0, 4)) for s in whole])
    for a, b in zip(monitor(whole), early, strict=True):
        known = ~np.isnan(a[:3])
        assert a[:3][known] == pytest.approx(b[:3][known], rel=1e-6, abs=1e-6)


def _random_answers(draw: np.random.Generator, n: int) -> list[Generation]:
    """Of different lengths, with sentences, tokens without text, and states that are no numbers."""
    found = []
    for one in answers(n):
        k = int(draw.integers(1, 30))
        pieces = draw.choice(["The", " tram", ".", '."', "\n", "", " is", "! Yes", "?!", "。"], k)
        some = trace(
            pieces.tolist(),
            logp=-draw.random(k),
            entropy=draw.random(k),
            hidden=draw.normal(size=(k, 8)),
            first=dict(zip(one.trace.first_ids, one.trace.first_logp, strict=True)),
            top=-draw.random((k, 5)),
        )
        hidden = {layer: some.hidden[1] + layer for layer in (1, 2)}
        if draw.random() < 0.3:
            hidden[2][draw.integers(k)] = np.nan
        found.append(dataclasses.replace(one, trace=dataclasses.replace(some, hidden=hidden)))
    return found


WHOLE_TEXTS = {m.name for m in texts.MONITORS if m.name != "words"} | {
    n for n in MONITORS if "sentences" in n
}


@pytest.mark.parametrize("name", sorted(set(MONITORS) - WHOLE_TEXTS))
@pytest.mark.parametrize("seed", range(5))
def test_scores_of_steps_are_those_of_whole_answers(name: str, seed: int) -> None:
    """Most of them token by token, some by several tokens at a time."""
    draw = np.random.default_rng(seed)
    monitor, seen = MONITORS[name].fit(answers(), UNSAFE), _random_answers(draw, 6)
    for g, whole in zip(seen, monitor(seen), strict=True):
        memory, at, found = monitor.begin(g), 0, []
        while at < len(g.trace):
            end = min(at + int(draw.choice([1, 1, 3])), len(g.trace))
            found.extend(monitor.step(memory, part(g.trace, at, end)))
            at = end
        assert found == pytest.approx(whole.tolist(), rel=1e-6, abs=1e-6, nan_ok=True)
    assert any(np.isfinite(s).any() for s in monitor(seen))


@pytest.mark.parametrize("name", sorted(WHOLE_TEXTS))
def test_what_reads_whole_texts_says_so(name: str) -> None:
    with pytest.raises(SettingsError, match="from token to token"):
        MONITORS[name].begin(answers()[0])


@pytest.mark.parametrize("name", sorted(n for n, m in MONITORS.items() if m.trained))
def test_what_is_fitted_twice_says_the_same(name: str) -> None:
    one, two = (np.array(MONITORS[name].fit(answers(), UNSAFE)(answers())) for _ in range(2))
    assert one == pytest.approx(two, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", sorted(set(MONITORS) - NEEDS_MODEL))
def test_empty_answers_have_no_scores(name: str) -> None:
    empty = dataclasses.replace(answers(1)[0], trace=part(answers(1)[0].trace, 0, 0))
    monitor = MONITORS[name].fit(answers(), UNSAFE)
    scores = monitor([empty, answers(1)[0], empty])
    assert [len(s) for s in scores] == [0, 6, 0]
    assert [len(s) for s in monitor([empty])] == [0]


@pytest.mark.parametrize("name", sorted(n for n, m in MONITORS.items() if m.trained))
@pytest.mark.parametrize("unsafe", [True, False])
def test_one_kind_of_answers_teaches_nothing(name: str, unsafe: bool) -> None:
    with pytest.raises(InsufficientData):
        MONITORS[name].fit(answers(), np.full(12, unsafe))


@pytest.mark.parametrize("name", sorted(MONITORS))
def test_every_monitor_names_its_source_and_access(name: str) -> None:
    monitor = MONITORS[name]
    assert monitor.name == name
    assert monitor.source
    white = base.Need.HIDDEN in monitor.needs
    grey = monitor.needs & {base.Need.LOGP, base.Need.ENTROPY, base.Need.TOP, base.Need.FIRST}
    assert monitor.access == ("white box" if white else "grey box" if grey else "black box")


@pytest.mark.parametrize(
    "path", sorted(Path(base.__file__).parent.glob("*.py")), ids=lambda p: p.stem
)
def test_a_monitor_has_a_test(path: Path) -> None:
    text = path.read_text()
    if "\nMONITORS = " in text:
        assert Path(__file__).with_name(f"test_{path.stem}.py").exists()


def test_no_two_monitors_have_one_name(monkeypatch) -> None:
    monkeypatch.setattr(probes, "MONITORS", (*probes.MONITORS, MONITORS["clock"]))
    with pytest.raises(SettingsError, match="two monitors are called 'clock'"):
        all_monitors()


def test_all_access_levels_and_the_promised_methods_are_there() -> None:
    assert {m.access for m in MONITORS.values()} == {"white box", "grey box", "black box"}
    assert len(MONITORS) >= 30


def test_no_two_monitors_say_the_same() -> None:
    """D11: neither at the end of an answer nor at its largest score; controls aside."""
    draw, some = np.random.default_rng(0), []
    for one in answers() * 4:
        n = 6
        new = {"logp": -draw.random(n), "entropy": draw.random(n), "top_logp": -draw.random((n, 5))}
        text = "".join(draw.choice(["ab", "cd", ".", " ef"], n))
        ends = np.arange(1, n + 1) * len(text) // n
        states = {k: draw.normal(size=(n, 8)).astype(np.float16) for k in (1, 2)}
        shown = dataclasses.replace(one.trace, **new, text=text, ends=ends, hidden=states)
        some.append(dataclasses.replace(one, trace=shown))
    names = [n for n in sorted(set(MONITORS) - NEEDS_MODEL) if n not in ("always", "never")]
    scores = {n: MONITORS[n].fit(some, np.tile(UNSAFE, 4))(some) for n in names}
    for what in (lambda s: s[-1], np.nanmax):
        found = {n: tuple(np.round([what(x) for x in s], 9)) for n, s in scores.items()}
        twice = {n for n in found if sum(v == found[n] for v in found.values()) > 1}
        assert not {n for n in twice if not n.startswith(("sample", "perturbation", "SelfCheck"))}


VALUES = np.array([1.0, 3.0, 2.0, 6.0])


@pytest.mark.parametrize(
    ("statistic", "want"),
    [(Last, [1, 3, 2, 6]), (First, [1, 1, 1, 1]), (Total, [1, 4, 6, 12]), (Mean, [1, 2, 2, 3]),
     (Highest, [1, 3, 3, 6])],
)  # fmt: skip
def test_by_hand(statistic, want) -> None:
    assert statistic().add(VALUES).tolist() == want


def by_sentence(kind: str, values, pieces) -> np.ndarray:
    monitor = MONITORS[f"{kind} entropy, sentences"]
    return monitor.score(Generation(trace(pieces, entropy=values)))


def test_sentences_by_hand() -> None:
    pieces = [" one", ".", " two", "."]
    assert by_sentence("average", VALUES, pieces).tolist() == [1, 2, (2 + 2) / 2, (2 + 4) / 2]
    assert by_sentence("maximum", VALUES, pieces).tolist() == [1, 3, (3 + 2) / 2, (3 + 6) / 2]


@given(st.lists(st.tuples(st.floats(0, 9, width=32), st.booleans()), min_size=1, max_size=12))
def test_sentences_at_the_end(drawn) -> None:
    values = np.array([v for v, _ in drawn])
    new = np.array([k > 0 and new for k, (_, new) in enumerate(drawn)])
    pieces = [" x." if end else " x" for end in [*new[1:], False]]
    parts = np.split(values, np.flatnonzero(new))
    means, highest = (by_sentence(kind, values, pieces) for kind in ("average", "maximum"))
    assert means[-1] == pytest.approx(np.mean([p.mean() for p in parts]))
    assert highest[-1] == pytest.approx(np.mean([p.max() for p in parts]))


def test_tokens_belong_to_the_sentence_they_begin_in() -> None:
    pieces = ["One", ".", " Two", "?!", ' "Three."', "\n", "", "Four"]
    found = by_sentence("maximum", np.arange(8.0), pieces)  # they end with tokens 1, 3 and 6
    assert found.tolist() == [0, 1, 3 / 2, 4 / 2, 8 / 3, 9 / 3, 10 / 3, 17 / 4]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_the_highest_never_falls(values) -> None:
    assert (np.diff(Highest().add(np.array(values))) >= 0).all()


def test_no_number_spoils_what_follows_and_nothing_before() -> None:
    values = np.array([1.0, np.nan, 2.0])
    for found in (
        Mean().add(values),
        Highest().add(values),
        by_sentence("average", values, ["a", "b", "c"]),
    ):
        assert np.isnan(found).tolist() == [False, True, True]


def test_entropies_by_hand() -> None:
    seen = [Generation(trace(["a", "b", "c"], entropy=[1.0, 5.0, 3.0]))]
    assert MONITORS["average entropy"](seen)[0].tolist() == [1, 3, 3]
    assert MONITORS["maximum entropy"](seen)[0].tolist() == [1, 5, 5]


def test_the_most_likely_are_made_to_sum_to_one() -> None:
    some = trace(["a", "b"], top=np.log([[0.1, 0.1, 0.1, 0.1, 0.1], [0.2, 0.2, 1e-9, 1e-9, 1e-9]]))
    assert entropy_of(some.top_logp) == pytest.approx([np.log(5), np.log(2)], abs=1e-5)


def test_ruled_out_tokens_add_nothing() -> None:
    some = trace(["a"], top=[[0.0, -np.inf, -np.inf, -np.inf, -np.inf]])
    assert entropy_of(some.top_logp).tolist() == [0]


def test_likelihoods_by_hand() -> None:
    seen = [Generation(trace(["One.", " Two", " three"], logp=[-1.0, -4.0, -2.0]))]
    found = {m.name: m(seen)[0].tolist() for m in base.MONITORS if "likelihood" in m.name}
    assert found == {
        "average likelihood": pytest.approx([1, 2.5, 7 / 3]),
        "maximum likelihood": [1, 4, 4],
        "average likelihood, sentences": pytest.approx([1, 2.5, (1 + 3) / 2]),
        "maximum likelihood, sentences": [1, 2.5, 2.5],
    }


def test_a_monitor_that_defines_no_step_says_so() -> None:
    class Whole(base.Monitor):
        def score(self, generation: Generation) -> np.ndarray:
            return np.zeros(len(generation.trace))

    some = Whole("mine", "this test")
    with pytest.raises(SettingsError, match="'mine' cannot go on from token to token"):
        some.step(None, words("one"))


def test_they_look_at_nothing_but_the_number_of_tokens() -> None:
    some = [Generation(words("one two")), Generation(words(""))]
    found = {n: [s.tolist() for s in MONITORS[n](some)] for n in ("always", "never", "clock")}
    assert found["always"] == [[1, 1], []]
    assert found["never"] == [[0, 0], []]
    assert found["clock"] == [[1, 2], []]


def test_an_author_s_share_of_unsafe_answers_is_the_score() -> None:
    one = Generation(words("one two"))
    some = [dataclasses.replace(one, author=a) for a in "aaabbb"]
    fitted = ModelIdentity().fit(some, np.array([True, True, False, False, False, False]))
    assert fitted(some)[0].tolist() == [3 / 5] * 2
    assert fitted(some)[3].tolist() == [1 / 5] * 2
    assert fitted([dataclasses.replace(one, author="c")])[0][0] == 0.5
    with pytest.raises(InsufficientData, match="one author"):
        ModelIdentity().fit([one] * 4, np.array([True, True, False, False]))
