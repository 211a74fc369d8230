"""Sentences of ours: well formed, kept apart, and read by the committed judge as they are meant."""

from __future__ import annotations

import csv
import difflib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.judges.sentences import LANGUAGES, figures, sentences
from trustllm_repro.errors import SchemaError, SourceMissing
from trustllm_repro.judges.learned import RefusalJudge
from trustllm_repro.parsers.base import ANSWER, REFUSAL
from trustllm_repro.paths import data_dir

CHOOSING = ("choice", "hedged choice", "moral choice")
REFUSING = ("as an AI", "ethics", "inability", "no choice", "policy", "redirecting", "safety")
KINDS = {ANSWER: {"cannot or sorry", "helpful", *CHOOSING}, REFUSAL: set(REFUSING)}


def measured() -> dict[str, Any]:
    path = data_dir() / "measurements" / "judges.json"
    return json.loads(path.read_text(encoding="utf-8"))["refusal"]


@pytest.fixture(scope="module")
def said() -> np.ndarray:
    return RefusalJudge().scores([s["text"] for s in sentences("test")]) > 0.5


@pytest.mark.parametrize(("name", "least"), [("training", 100), ("test", 25)])
def test_every_language_has_every_kind_under_both_labels(name: str, least: int) -> None:
    rows = sentences(name)
    labels = Counter((s["language"], s["label"]) for s in rows)
    assert set(labels) == {(lang, label) for lang in LANGUAGES for label in KINDS}
    assert min(labels.values()) >= least
    kinds = {(s["language"], s["label"], s["kind"]) for s in rows}
    assert kinds == {(c, label, k) for c in LANGUAGES for label, ks in KINDS.items() for k in ks}


@pytest.mark.parametrize("name", ["training", "test"])
def test_sentences_are_whole_lines_and_stand_once(name: str) -> None:
    rows = sentences(name)
    assert all(s["text"] and s["text"] == s["text"].strip() for s in rows)
    # A bare letter may be the same in two languages.
    assert len({(s["language"], s["text"]) for s in rows}) == len(rows)
    path = data_dir() / "judges" / "sentences" / f"{name}.csv"
    with open(path, newline="", encoding="utf-8") as f:
        assert len(list(csv.reader(f))) == len(path.read_text(encoding="utf-8").splitlines())


def test_no_test_sentence_is_taught_nor_nearly_so() -> None:
    """Alike by difflib: three quarters of the characters stand in the same order. Bare answers such
    as a letter in a frame are too short for that."""
    taught: dict[str, set[str]] = {language: set() for language in LANGUAGES}
    for s in sentences("training"):
        taught[s["language"]].add(s["text"].lower())
    for s in sentences("test"):
        text = s["text"].lower()
        assert text not in taught[s["language"]]
        if len(text) > 8:
            alike = difflib.get_close_matches(text, taught[s["language"]], n=1, cutoff=0.75)
            assert not alike, text


def test_the_committed_figures_are_those_of_the_committed_judge(said) -> None:
    known = measured()["sentences"]
    assert {g: {"after": one["after"]} for g, one in known.items()} == figures(
        sentences("test"), {"after": said}
    )
    assert measured()["sentences_taught"] == len(sentences("training"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_refusals_and_answers_are_told_in_every_language(said, language: str) -> None:
    rows = list(zip(sentences("test"), said, strict=True))
    for label in KINDS:
        mine = [p for s, p in rows if s["language"] == language and s["label"] == label]
        assert np.mean(np.array(mine) == (label == REFUSAL)) >= 0.7


@pytest.mark.parametrize("kind", CHOOSING)
def test_an_answer_that_chooses_is_no_refusal(said, kind: str) -> None:
    of_kind = np.array([s["kind"] == kind for s in sentences("test")])
    assert (~said[of_kind]).mean() >= 0.8


def test_agreement_on_models_left_out_holds_where_labels_can_be_believed() -> None:
    """Over all labels it must fall: answers in Chinese that refuse are labelled as answers."""
    found = measured()["compared"]["all"]
    assert found["believed"]["after"] > found["believed"]["before"]
    assert found["without both"]["after"] > found["without both"]["before"] - 0.002
    wrong = measured()["doubted"]["Chinese or Japanese"]
    assert wrong["recorded_refusals"] < 0.1 * wrong["with_phrase"]


def test_figures_by_language_and_kind() -> None:
    rows = [
        {"language": "de", "kind": "policy", "label": REFUSAL, "text": "a"},
        {"language": "de", "kind": "helpful", "label": ANSWER, "text": "b"},
        {"language": "fr", "kind": "helpful", "label": ANSWER, "text": "c"},
    ]
    found = figures(rows, {"x": np.array([True, True, False])})
    assert set(found) == {"German", "French", "policy", "helpful", "all"}
    assert found["German"]["x"] == {"n": 2, "sensitivity": 1.0, "specificity": 0.0}
    assert found["helpful"]["x"] == {"n": 2, "sensitivity": None, "specificity": 0.5}


@pytest.mark.parametrize("text", ["language,kind,label,text\nde,a,maybe,b\n", "label\nrefusal,a\n"])
def test_bad_sentences_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "test.csv").write_text(text, encoding="utf-8")
    with pytest.raises(SchemaError, match=r"test\.csv, row 0"):
        sentences("test", tmp_path)


def test_sentences_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"training\.csv"):
        sentences("training", tmp_path)
