"""Judges by embeddings, with vectors that can be checked by hand instead of MiniLM's.

The vectors count letters; what is tested is which texts are compared, and how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from trustllm_repro.judges.similarity import (
    CHANGED,
    FIRST,
    SAME,
    EmbeddingJudge,
    pair_similarity,
    sycophancy,
)
from trustllm_repro.schema import Item, Response


def letters(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors of counts of a to z; a text without letters is the vector of zeros."""
    counts = np.array([[t.lower().count(chr(97 + k)) for k in range(26)] for t in texts], float)
    counts = counts.reshape(len(texts), 26)
    norms = np.linalg.norm(counts, axis=1, keepdims=True)
    return counts / np.where(norms == 0, 1, norms)


def answers(*texts: str | None, sample: Sequence[int] = ()) -> list[Response]:
    samples = sample or [0] * len(texts)
    return [
        Response("t", "m", k, t, sample=s)
        for k, (t, s) in enumerate(zip(texts, samples, strict=True))
    ]


def kinds(*types: str, pairs: Sequence[int] = ()) -> list[Item]:
    pairs = pairs or [0] * len(types)
    return [
        Item("t", k, "q", pair=p, extra={"type": t})
        for k, (t, p) in enumerate(zip(types, pairs, strict=True))
    ]


# --- pairs of plain and perturbed instructions ----------------------------------------------------


def test_a_perturbed_answer_is_compared_with_the_plain_one_of_its_pair() -> None:
    items = kinds("original", "typo", "original", "typo", pairs=[1, 1, 2, 2])
    found = pair_similarity(letters, items, answers("aa", "a", "b", "ab"))
    assert [j.number for j in found] == [None, pytest.approx(1), None, pytest.approx(0.5**0.5)]


def test_the_order_of_rows_does_not_matter() -> None:
    items, texts = kinds("typo", "original"), answers("ab", "a")
    assert pair_similarity(letters, items, texts)[0].number == pytest.approx(0.5**0.5)


def test_samples_are_compared_within_themselves() -> None:
    items = kinds("original", "typo", "original", "typo")
    found = pair_similarity(letters, items, answers("a", "a", "b", "a", sample=[0, 0, 1, 1]))
    assert [found[1].number, found[3].number] == [pytest.approx(1), 0]


@pytest.mark.parametrize("texts", [("a", None), (None, "a"), (None, None)])
def test_without_one_of_the_two_there_is_no_number(texts) -> None:
    found = pair_similarity(letters, kinds("original", "typo"), answers(*texts))
    assert [j.number for j in found] == [None, None]


def test_a_pair_without_its_plain_question() -> None:
    found = pair_similarity(letters, kinds("typo"), answers("a"))
    assert found[0].number is None


def test_an_empty_answer_is_an_answer() -> None:
    assert pair_similarity(letters, kinds("original", "typo"), answers("", "a"))[1].number == 0


# --- persona --------------------------------------------------------------------------------------


def personas(n: int) -> list[Item]:
    extra = {"source": "persona", "n_completion": "aaa", "s_completion": "bbb"}
    return [Item("t", k, "q", extra=extra) for k in range(n)]


def test_the_shift_is_positive_near_the_neutral_completion() -> None:
    found = sycophancy(letters, personas(4), answers("a", "b", "ab", None))
    numbers = [j.number for j in found]
    assert numbers[:3] == [pytest.approx(1), pytest.approx(-1), pytest.approx(0)]
    assert numbers[3] is None


# --- stated preferences ---------------------------------------------------------------------------


def choices(n: int = 2) -> list[Item]:
    """Two rows a pair; the option the user prefers stands first."""
    prompts = ['I like "aaa" more than "bbb".', 'I like "bbb" more than "aaa".']
    source = {"source": "preference"}
    return [Item("t", k, prompts[k % 2], pair=k // 2, extra=source) for k in range(n)]


def test_following_the_user_both_times_is_a_change() -> None:
    found = sycophancy(letters, choices(), answers("a", "b"))
    assert [j.label for j in found] == [FIRST, CHANGED]


def test_staying_with_one_option_is_none() -> None:
    assert sycophancy(letters, choices(), answers("a", "a"))[1].label == SAME


def test_pairs_do_not_mix() -> None:
    found = sycophancy(letters, choices(4), answers("a", "b", "b", "b"))
    assert [j.label for j in found] == [FIRST, CHANGED, FIRST, SAME]


@pytest.mark.parametrize("texts", [("a", None), (None, "b"), (None, None)])
def test_a_pair_with_a_null_answer_has_no_label(texts) -> None:
    found = sycophancy(letters, choices(), answers(*texts))
    assert found[1].label is None


def test_a_prompt_without_two_quoted_options_has_no_label() -> None:
    items = [replace(i, prompt="Which do you like?") for i in choices()]
    assert sycophancy(letters, items, answers("a", "b"))[1].label is None


# --- all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compare", [pair_similarity, sycophancy])
def test_nothing_to_judge(compare) -> None:
    assert compare(letters, [], []) == []


def test_of_sycophancy_each_kind_of_question_is_judged_in_its_own_way() -> None:
    one, other = choices()
    items = [one, personas(1)[0], other]
    found = sycophancy(letters, items, answers("a", "a", "b"))
    assert [j.label for j in found] == [FIRST, None, CHANGED]
    assert found[1].number == pytest.approx(1)


def test_the_digest_names_judge_and_embedder() -> None:
    def other(texts: Sequence[str]) -> np.ndarray:
        return letters(texts)

    other.digest = "abc"  # type: ignore[attr-defined]
    named, given = (EmbeddingJudge("similar", pair_similarity, e).digest for e in (other, letters))
    assert "similar" in named
    assert "abc" in named
    assert named != given
