"""Features: a text's row is its own, the same for ever, whatever the text and its neighbours."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tools.judges.training_data import lexicon_of
from trustllm_repro.judges.features import (
    LENGTHS,
    MAX_CHARACTERS,
    Lexicon,
    Recipe,
    View,
    lengths,
    vectorise,
    words,
)

VIEWS = (
    View("head", "word", (1, 2), first=5),
    View("all", "word", (1, 3), counts=True, weight=1.5),
    View("tail", "word", (1, 2), last=4),
    View("char", "character", (2, 4), counts=True),
)
RECIPE = Recipe(VIEWS, bits=12)
LEXICON = lexicon_of({"good": 2.0, "bad": -2.5, "awful": -3.0})

# Any code point, lone surrogates included: JSON may carry them.
any_text = st.text(st.characters(exclude_categories=()), max_size=60)
ODD = (
    "",
    " \n\t ",
    "今天天气很好。",
    '{"result": "Yes", "n": 3}',
    "👍🏽 ok",
    "\ud800 alone",
    "\x00\x1b[0m",
    "it’s",
    "a" * 50,
)


def dense(texts: list[str], recipe: Recipe = RECIPE) -> np.ndarray:
    return vectorise(texts, recipe).toarray()


@given(st.lists(any_text, min_size=1, max_size=5))
def test_a_row_depends_on_its_own_text_only(texts: list[str]) -> None:
    together = dense(texts)
    for i, text in enumerate(texts):
        assert np.array_equal(dense([text])[0], together[i])


@given(st.lists(any_text, max_size=4))
def test_the_dense_features_depend_on_their_own_text_only(texts: list[str]) -> None:
    for features in (lengths, LEXICON.features):
        together = features(texts)
        assert together.shape[0] == len(texts)
        assert np.isfinite(together).all()
        for i, text in enumerate(texts):
            assert np.array_equal(features([text])[0], together[i])


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_give_finite_rows(text: str) -> None:
    row = dense([text])[0]
    assert np.isfinite(row).all()
    assert np.array_equal(row, dense([text])[0])


def test_known_columns() -> None:
    """Weights are tied to these columns: a change here makes committed weights meaningless."""
    row = vectorise(["No, sorry."], Recipe((View("all", "word", (1, 2)),), bits=10))
    assert sorted(row.indices.tolist()) == [120, 162, 255, 404, 406, 917, 933]
    assert row.data == pytest.approx(1 / math.sqrt(7))


def test_each_view_has_the_length_of_its_weight() -> None:
    for view in VIEWS:
        row = dense(["some words that are not too many"], Recipe((view,), bits=18))[0]
        assert np.linalg.norm(row) == pytest.approx(view.weight)


def test_no_text_gives_no_rows() -> None:
    assert dense([]).shape == (0, 2**12)
    assert lengths([]).shape == (0, len(LENGTHS))
    assert LEXICON.features([]).shape == (0, 12)


def test_empty_texts_share_an_empty_row_of_words() -> None:
    assert not dense(["", " "], Recipe((View("all", "word", (1, 3)),), bits=10)).any()


def test_the_same_ngram_has_another_column_in_another_view() -> None:
    one, two = (dense(["word"], Recipe((View(n, "word", (1, 1)),), bits=16)) for n in "ab")
    assert one.argmax() != two.argmax()


def test_only_the_beginning_or_the_end_is_read() -> None:
    first = Recipe((View("v", "word", (1, 1), first=2),), bits=16)
    last = Recipe((View("v", "word", (1, 1), last=2),), bits=16)
    assert np.array_equal(dense(["a b c d"], first), dense(["a b x y"], first))
    assert np.array_equal(dense(["a b c d"], last), dense(["x y c d"], last))
    assert not np.array_equal(dense(["a b c d"], first), dense(["a b c d"], last))


def test_case_quotes_and_spaces_do_not_matter() -> None:
    assert np.array_equal(dense(["I Can’t  do\nit"]), dense(["i can't do it"]))


@pytest.mark.parametrize("features", [dense, lengths, LEXICON.features])
def test_what_comes_after_the_limit_is_not_read(features) -> None:
    long = "word " * (MAX_CHARACTERS // 5)
    assert len(long) == MAX_CHARACTERS
    assert np.array_equal(features([long]), features([long + "and then something else"]))


def test_words() -> None:
    assert words("I can’t: 42 €") == ["i", "can't", ":", "4", "2", "€"]
    assert words("我不能 ok") == ["我", "不", "能", "ok"]
    assert words("") == []


def test_lengths_say_what_their_names_say() -> None:
    rows = lengths(["", '{"a": 1}', "我不能", "word " * 40])
    empty, brace, chinese, forty = (dict(zip(LENGTHS, r, strict=True)) for r in rows)
    assert empty["no words"] == empty["under 8 words"] == 1
    assert brace["opens with a brace"] == 1
    assert chinese["share of Chinese or Japanese characters"] == 1
    assert (forty["under 30 words"], forty["under 100 words"]) == (0, 1)
    assert forty["log of words"] == pytest.approx(math.log(41) / 6)


def test_a_recipe_survives_its_file() -> None:
    assert TypeAdapter(Recipe).validate_json(json.dumps(asdict(RECIPE))) == RECIPE


def test_a_lexicon_finds_its_words_and_no_others() -> None:
    hashes = np.array([zlib.crc32(w.encode()) for w in ("bad", "table", "good")], np.uint32)
    assert LEXICON.look_up(hashes).tolist() == [-2.5, 0.0, 2.0]
    nothing = Lexicon(np.zeros(0, np.uint32), np.zeros(0, np.float32))
    assert nothing.look_up(hashes).tolist() == [0, 0, 0]
    assert np.all(np.diff(LEXICON.hashes.astype(np.int64)) > 0)


def test_lexicon_features_tell_worse_words_from_better_ones() -> None:
    plain, worse = LEXICON.features(["a good table", "an awful bad table"])
    lowest, worst, down, up, share, _ = plain[:6]
    assert (lowest, worst, down, share) == (0, pytest.approx(2 / 3), 0, 0)
    assert up == pytest.approx(2 / 3)
    assert worse[0] == -3.0
    assert worse[4] == pytest.approx(0.5)
