"""What the learned judges learn from, read out of small made-up archives."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.faults.world import TOXICITY, World, answer, read
from tools.judges.training_data import (
    CHOICES,
    PYRIT,
    Examples,
    hashes,
    human_labels,
    refusal_examples,
    refusal_probabilities,
    toxicity_examples,
    unfounded,
    unreadable,
    valences,
)
from trustllm_repro.data.benchmark import load_benchmark
from trustllm_repro.data.recorded import Recorded, load_recorded
from trustllm_repro.errors import ReproError, SchemaError, SourceMissing
from trustllm_repro.store.archive import Archive

OOD = "results/robustness/ood/{}/ood_detection.json"


def zipped(path: Path, members: dict[str, str]) -> Archive:
    with zipfile.ZipFile(path, "w") as z:
        for name, text in members.items():
            z.writestr(name, text)
    return Archive(path)


@pytest.fixture
def small(tmp_path: Path) -> World:
    return World(tmp_path / "small")


def loaded(small: World) -> Recorded:
    return load_recorded(small.records, load_benchmark(small.benchmark, verify=False))


EXAMPLES = Examples(
    ["same", "same", "one", "two", "same", "three"],
    ["t"] * 6,
    ["a", "a", "a", "b", "b", "c"],
    np.arange(6) / 10,
)


def test_folds_are_the_models() -> None:
    folds = dict(EXAMPLES.folds())
    assert list(folds) == ["a", "b", "c"]
    assert sum(folds.values()).tolist() == [1] * 6


def test_training_takes_each_text_once_and_none_of_the_tested() -> None:
    nobody = np.zeros(6, bool)
    assert EXAMPLES.training(nobody).tolist() == [0, 2, 3, 5]
    tested = dict(EXAMPLES.folds())["b"]
    assert EXAMPLES.training(tested).tolist() == [2, 5]  # "same" also stands among the tested
    assert EXAMPLES.training(np.ones(6, bool)).tolist() == []


def test_training_may_be_confined_to_some_answers() -> None:
    """A text whose first answer is left out is learned from its next one."""
    among = np.array([False, True, True, False, True, False])
    assert EXAMPLES.training(np.zeros(6, bool), among).tolist() == [1, 2]


def test_labels_of_answers_the_recorded_classifier_could_not_read() -> None:
    texts = [
        "这是一句中文。",
        "今日は",
        "plain English",
        "English with one 字 in a longer line",
        "",
    ]
    assert unreadable(texts).tolist() == [True, True, False, False, False]


def test_refusals_without_a_phrase_of_refusal_where_a_choice_was_asked_for() -> None:
    texts = ["A. I tell the truth.", "I cannot choose.", "I prefer tea.", "I prefer tea."]
    tasks = [*CHOICES, "fairness/preference", "safety/misuse"]
    examples = Examples(texts, tasks, ["m"] * 4, np.array([0.9, 0.9, 0.2, 0.9]))
    assert unfounded(examples).tolist() == [True, False, False, False]


def test_probabilities_are_those_of_refusal(tmp_path: Path) -> None:
    rows = [
        {"res": "no", "longformer_res": [{"label": "LABEL_0", "score": 0.9}]},
        {"res": "fine", "longformer_res": [{"label": "LABEL_1", "score": 0.8}]},
        {"res": "without a score", "longformer_res": [{"label": "LABEL_1"}]},
        {"res": None, "longformer_res": [{"label": "LABEL_0", "score": 0.7}]},
        {"res": "without a label", "longformer_res": None},
        {"res": "without the field"},
        "not a row",
    ]
    archive = zipped(
        tmp_path / "a.zip",
        {"x.json": json.dumps(rows), "y.json": '{"a": 1}', "z.csv": "res,longformer_res\n"},
    )
    assert refusal_probabilities(archive) == {"no": 0.9, "fine": pytest.approx(0.2)}


def test_refusal_examples_carry_label_and_score(small: World) -> None:
    """One answer per row with a label, of every model; a score that contradicts the label of its
    own row (the text stands in several files) does not change the label."""
    found = refusal_examples(loaded(small), Archive(small.records))
    assert set(found.models) == set(small.models)
    assert {"safety/jailbreak", "safety/misuse", "robustness/ood_detection"} == set(found.tasks)
    assert len(found.texts) == len(found.tasks) == len(found.targets)
    assert set(np.round(found.targets, 2)) == {0.01, 0.99}
    assert not any(text is None for text in found.texts)


def test_a_score_that_contradicts_the_label_is_not_used(small: World) -> None:
    path = small.record(OOD)
    rows = read(path)
    rows[0] = answer(rows[0], "the same words", refused=True)
    rows[1] = answer(rows[1], "the same words", refused=False)  # the last score found wins
    path.write_text(json.dumps(rows), encoding="utf-8")
    found = refusal_examples(loaded(small), Archive(small.records))
    targets = [t for text, t in zip(found.texts, found.targets, strict=True) if "same" in text]
    assert targets == [1.0, pytest.approx(0.01)]


def test_null_and_unlabelled_answers_are_left_out(small: World) -> None:
    before = len(refusal_examples(loaded(small), Archive(small.records)).texts)
    path = small.record(OOD)
    rows = read(path)
    rows[0] = answer(rows[0], None)
    rows[1] = {**rows[1], "longformer_res": None}
    path.write_text(json.dumps(rows), encoding="utf-8")
    assert len(refusal_examples(loaded(small), Archive(small.records)).texts) == before - 2


def test_copied_files_teach_nothing(small: World) -> None:
    """Answers that are proven to be another model's must not count as those of this one."""
    small.copy_misuse()
    found = refusal_examples(loaded(small), Archive(small.records))
    mine = [t for t, m in zip(found.texts, found.models, strict=True) if m == "mistral-7b"]
    assert all(t.startswith("mistral-7b") for t in mine)


def test_toxicity_examples_have_a_score_each(small: World) -> None:
    path = small.toxicity()
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = lines[1].replace("0.25", "error")
    lines[2] = lines[2].replace("0.25", "0.75")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = toxicity_examples(loaded(small))
    assert set(found.models) == {"gpt-4"}
    assert len(found.texts) == len(lines) - 2
    assert sorted(set(found.targets)) == [0.25, 0.75]


def test_without_scores_there_are_no_toxicity_examples(small: World) -> None:
    assert not small.record(TOXICITY).exists()
    assert len(toxicity_examples(loaded(small)).texts) == 0


HUMAN = (
    "# source: made up\n"
    "# a second comment\n"
    "assistant_response,human_score,objective\n"
    '"I will not do that.",1,x\n'
    '"Here it is:\n# a heading of the answer\nDone.",0,x\n'
)


def test_human_labels_and_their_comment_lines(tmp_path: Path) -> None:
    texts, labels = human_labels(
        zipped(tmp_path / "w.whl", {PYRIT + "refusal.csv": HUMAN}), "refusal.csv"
    )
    assert texts == ["I will not do that.", "Here it is:\n# a heading of the answer\nDone."]
    assert labels.tolist() == [True, False]


@pytest.mark.parametrize(
    "text",
    [
        HUMAN.replace(",1,", ",2,"),
        HUMAN.replace(",1,", ",,"),
        HUMAN.replace("human_score", "score"),
        HUMAN.replace("assistant_response", "text"),
    ],
)
def test_human_labels_of_another_form(tmp_path: Path, text: str) -> None:
    wheel = zipped(tmp_path / "w.whl", {PYRIT + "refusal.csv": text})
    with pytest.raises(SchemaError, match=r"refusal\.csv") as caught:
        human_labels(wheel, "refusal.csv")
    assert caught.value.remedy


def test_a_wheel_without_the_file(tmp_path: Path) -> None:
    with pytest.raises(ReproError):
        human_labels(zipped(tmp_path / "w.whl", {"other.csv": ""}), "refusal.csv")


def test_valences(tmp_path: Path) -> None:
    lexicon = "good\t1.9\t0.9\t[2, 2]\n\nbad\t-2.5\t0.6\t[-2]\n:)\t2.0\t1\t[2]\nno number here\n"
    wheel = zipped(tmp_path / "v.whl", {"vaderSentiment/vader_lexicon.txt": lexicon})
    assert valences(wheel) == {"good": 1.9, "bad": -2.5, ":)": 2.0}


def test_hashes_of_what_was_given(tmp_path: Path) -> None:
    one = zipped(tmp_path / "a.zip", {"a": "1"})
    found = hashes({"records": one.path, "pyrit": None})
    assert found == {"records": one.digest()}
    with pytest.raises(SourceMissing):
        hashes({"records": tmp_path / "none.zip"})
