"""Rows of a wrong form, answers that are odd but right, and models and files nobody knows."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.faults.world import (
    ITC,
    QBB,
    SOCIAL,
    TOXICITY,
    World,
    answer,
    change,
    cli,
    edit,
    fails,
    read,
    snapshot,
)
from tests.small import refusal
from trustllm_repro.data.benchmark import load_benchmark
from trustllm_repro.data.recorded import load_recorded
from trustllm_repro.errors import SchemaError, SourceCorrupt
from trustllm_repro.schema import Rule
from trustllm_repro.store.archive import Archive
from trustllm_repro.tasks import TASKS

JAILBREAK, MISUSE = "safety/jailbreak", "safety/misuse"
GPT4_QBB = QBB.format("gpt-4")


# --- rows ----------------------------------------------------------------------------------------

ROWS = {
    "res is missing": ({"res": ...}, "res", "required"),
    "res is a number": ({"res": 5}, "res", "string"),
    "res is a list": ({"res": ["a"]}, "res", "string"),
    "prompt is missing": ({"prompt": ...}, "prompt", "required"),
    "prompt is null": ({"prompt": None}, "prompt", "string"),
    "unknown label": ({"longformer_res": [{"label": "LABEL_2"}]}, "longformer_res", "LABEL_0"),
    "label is a number": ({"longformer_res": [{"label": 0}]}, "longformer_res", "LABEL_1"),
    "judgement without label": ({"longformer_res": [{"score": 0.5}]}, "longformer_res", "required"),
    "judgement is no list": ({"longformer_res": "LABEL_0"}, "longformer_res", "list"),
    "eval_res is a number": ({"eval_res": 1}, "eval_res", "string"),
    "similarity is text": ({"similarity": "high"}, "similarity", "number"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_recorded_row_of_the_wrong_form(world, earlier, case):
    values, field, expected = ROWS[case]
    change(world.record(QBB), 4, **values)
    error = fails(world, earlier, SchemaError, f"{GPT4_QBB}, row 4, field {field!r}", expected)
    assert isinstance(error, SchemaError)
    assert (error.file, error.row, error.field) == (GPT4_QBB, 4, field)


def test_a_row_that_is_no_object_and_the_number_of_further_problems(world, earlier):
    rows = read(world.record(QBB))
    world.put(world.record(QBB), [rows[0], "text", {**rows[2], "res": 3}])
    fails(world, earlier, SchemaError, f"{GPT4_QBB}, row 1", "1 further problem")


QUESTIONS = {
    "prompt is missing": (MISUSE, {"prompt": ...}, "prompt"),
    "prompt is a number": (MISUSE, {"prompt": 3}, "prompt"),
    "source is missing": (MISUSE, {"source": ...}, "source"),
    "label is text": (JAILBREAK, {"label": "cot"}, "label"),
    "label is a word": ("ethics/implicit_SocialChemistry101", {"label": "bad"}, "label"),
    "index is missing": ("robustness/AdvGLUE", {"index": ...}, "index"),
    "gold is an object": ("truthfulness/internal", {"answer": {"a": 1}}, "answer"),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_a_benchmark_row_of_the_wrong_form(world, earlier, case):
    name, values, field = QUESTIONS[case]
    change(world.question(name), 2, **values)
    fails(world, earlier, SchemaError, f"{name}.json, row 2, field {field!r}")


def with_only(world: World, task: str, form: str) -> Path:
    """A file of one record form of gpt-4, made from the items of its task."""
    chosen = next(f for f in TASKS[task].records if f.name == form)
    rows = TASKS[task].items(world.rows[TASKS[task].file])
    path = world.record(chosen.path.replace("{model}", "gpt-4"))
    return world.put(path, [{**answer(dict(i.extra), "50 (2)"), "similarity": 0.5} for i in rows])


KEYS = [
    ("robustness/advglue", "main", "index"),
    ("robustness/advglue", "main", "task"),
    ("robustness/advinstruction", "similarity", "type"),
    ("ethics/social_chemistry_old_prompt", "main", "action"),
    ("ethics/awareness_emotion", "late", "label"),
]


@pytest.mark.parametrize(("task", "form", "field"), KEYS)
def test_a_recorded_row_without_the_field_it_is_matched_by(world, earlier, task, form, field):
    path = with_only(world, task, form)
    world.replay(earlier)
    change(path, 1, **{field: ...})
    fails(world, earlier, SchemaError, path.name, "row 1", field)


def test_a_jailbreak_question_without_any_label(world, earlier):
    change(world.question(JAILBREAK), 2, label=[])
    fails(world, earlier, SchemaError, "safety/jailbreak.json, row 2, field 'label'")


def test_a_confaide_question_whose_rating_is_no_number(world, earlier):
    with_only(world, "privacy/confaide", "main")
    change(world.question("privacy/privacy_awareness_confAIde"), 2, label="much")
    fails(world, earlier, SchemaError, "privacy_awareness_confAIde.json, row 2, field 'label'")


def test_a_benchmark_number_in_quotes(world, earlier):
    change(world.question("ethics/implicit_SocialChemistry101"), 2, label="1.0")
    fails(world, earlier, SchemaError, "implicit_SocialChemistry101.json, row 2, field 'label'")


def test_a_question_of_an_unknown_source(world, earlier):
    with_only(world, "truthfulness/internal", "main")
    change(world.question("truthfulness/internal"), 2, source="elsewhere")
    fails(world, earlier, SchemaError, "truthfulness/internal.json, row 2, field 'source'")


# --- toxicity ------------------------------------------------------------------------------------


def recorded_toxicity(world: World) -> tuple[list[float | None], dict[str, int]]:
    recorded = load_recorded(world.records, load_benchmark(world.benchmark, verify=False))
    answers = recorded.responses("safety/toxicity", "gpt-4")
    return [r.number_recorded for r in answers], recorded.report.unmatched


def test_toxicity_is_read(world):
    world.toxicity()
    assert recorded_toxicity(world) == ([0.25] * 12, {})


def test_toxicity_of_failed_calls_is_absent_not_zero(world):
    edit(
        world.toxicity(), lambda data: data.replace(b",0.25", b",error", 3).replace(b"0.25", b"", 2)
    )
    numbers, _ = recorded_toxicity(world)
    assert numbers.count(None) == 5
    assert numbers.count(0.25) == 7


@pytest.mark.parametrize("value", ["7", "-0.1", "high", "nan", "inf", "0,5"])
def test_toxicity_that_is_no_share(world, earlier, value):
    lines = world.toxicity().read_text(encoding="utf-8").splitlines()
    lines[3] = lines[3].replace("0.25", f'"{value}"')
    world.record(TOXICITY).write_text("\n".join(lines), encoding="utf-8")
    name = TOXICITY.format("gpt-4")
    fails(world, earlier, SchemaError, f"{name}, row 2, field 'toxicity'", "Input should be")


@pytest.mark.parametrize("column", ["res", "label", "type", "toxicity"])
def test_toxicity_without_a_column(world, earlier, column):
    path = world.toxicity()
    frame = pd.read_csv(path).drop(columns=column)
    frame.to_csv(path, index=False)
    fails(world, earlier, SchemaError, f"row 0, field {column!r}", "required")


def test_toxicity_cut_in_the_middle_of_a_row(world, earlier):
    path = world.toxicity()
    edit(path, lambda data: data[: data.rindex(b",toxicity") + 3])
    last = len(list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))) - 1
    fails(world, earlier, SchemaError, f"row {last}, field 'toxicity'", "required")


@pytest.mark.parametrize("data", [b"res,label\n\xff\xfe", b"res,label\r\na,\0\n"])
def test_toxicity_that_is_no_text(world, earlier, data):
    world.toxicity().write_bytes(data)
    error = fails(world, earlier, (SourceCorrupt, SchemaError), TOXICITY.format("gpt-4"))
    assert "fetch" in error.remedy


# --- answers that are there twice, swapped, or odd but right ------------------------------------


def test_the_same_items_answered_by_two_files(world, earlier):
    shutil.copy(world.record(QBB), world.record(ITC))
    error = fails(world, earlier, SchemaError, "6 items of safety/jailbreak", "keep one")
    assert GPT4_QBB in str(error)
    assert ITC.format("gpt-4") in str(error)


def value(world: World, out: Path, column: str, rule: Rule) -> float:
    run, _ = world.replay(out)
    c = run.cells
    line = c[(c["table"] == "safety_jailbreak") & (c["model"] == "gpt-4")
             & (c["column"] == column) & (c["rule"] == rule)]  # fmt: skip
    return float(line["value"].iloc[0])


def test_swapped_file_names_exchange_the_authors_columns_only(world, tmp_path):
    for i in range(6):
        change(world.record(QBB), i, longformer_res=refusal(True))
    straight = {r: value(world, tmp_path / "a", "jailbreak", r) for r in Rule}
    assert straight == dict.fromkeys(Rule, 1.0)
    qbb, itc, spare = world.record(QBB), world.record(ITC), tmp_path / "spare"
    qbb.rename(spare), itc.rename(qbb), spare.rename(itc)
    assert value(world, tmp_path / "b", "jailbreak", Rule.AUTHORS) == 0.5
    assert value(world, tmp_path / "b", "toxicity", Rule.AUTHORS) == 1.0
    assert value(world, tmp_path / "b", "jailbreak", Rule.CORRECTED) == 1.0
    assert value(world, tmp_path / "b", "toxicity", Rule.CORRECTED) == 0.5


def status(world: World, out: Path, rule: Rule = Rule.AUTHORS, form: str = "QBB") -> list[str]:
    run, _ = world.replay(out)
    frame = run.ledger.verdicts.to_pandas()
    mine = frame[(frame["task"] == "safety/jailbreak") & (frame["model"] == "gpt-4")]
    return mine.loc[(mine["rule"] == rule) & (mine["form"] == form), "status"].astype(str).tolist()


def test_null_empty_foreign_and_raw_json_answers_are_counted(world, tmp_path):
    rows = read(world.record(QBB))
    raw = '{"choices": [{"message": {"content": "no"}}]}'
    texts = [None, "", "我不能回答这个问题。", raw, "\ud83d", "\x00\x1b[31m"]
    world.put(world.record(QBB), [answer(r, t) for r, t in zip(rows, texts, strict=True)])
    parsed = ["parsed"] * 4
    assert status(world, tmp_path / "out") == ["null", "empty", *parsed]
    assert status(world, tmp_path / "out", Rule.TOOLKIT) == ["null", "parsed", *parsed]
    run, recorded = world.replay(tmp_path / "out")
    assert recorded.report.read[GPT4_QBB] == 6
    cells = run.cells
    line = cells[(cells["table"] == "safety_jailbreak") & (cells["model"] == "gpt-4")
                 & (cells["column"] == "overall") & (cells["rule"] == "authors")].iloc[0]  # fmt: skip
    assert (line["n"], line["n_unparsed"], line["n_missing"]) == (10, 1, 1)


def test_no_text_of_an_answer_reaches_a_result(world, tmp_path):
    secret = "zebra crossing at midnight"
    for i in range(6):
        change(world.record(SOCIAL), i, res=secret)
        change(world.record(QBB), i, res=secret)
    world.replay(tmp_path / "out")
    assert not [n for n, data in snapshot(tmp_path / "out").items() if secret.encode() in data]


def test_an_unlabelled_answer_is_not_a_refusal(world, tmp_path):
    change(world.record(QBB), 0, longformer_res=None)
    change(world.record(QBB), 1, longformer_res=...)
    change(world.record(QBB), 2, longformer_res=[])
    assert status(world, tmp_path / "out") == ["unlabelled"] * 3 + ["parsed"] * 3


def test_duplicate_prompts_meet_equal_items_in_order(world, tmp_path):
    prompt = read(world.question(MISUSE))[3]["prompt"]
    change(world.question(MISUSE), 5, prompt=prompt)
    path = world.record("results/safety/misuse/{}/do_not_answer.json")
    for model in world.models:
        change(world.record("results/safety/misuse/{}/do_not_answer.json", model), 5, prompt=prompt)
    rows = read(path)
    assert [r["prompt"] for r in rows].count(prompt) == 2
    _, recorded = world.replay(tmp_path / "out")
    texts = [r.text for r in recorded.responses("safety/misuse", "gpt-4")[:6]]
    assert texts == [r["res"] for r in rows[:6]]
    assert not recorded.report.unmatched


def test_rows_that_meet_no_item_are_counted_and_left_out(world, tmp_path):
    change(world.record(QBB), 1, prompt="a prompt nobody asked")
    run, recorded = world.replay(tmp_path / "out")
    assert recorded.report.unmatched == {GPT4_QBB: 1}
    assert json.loads((run.path / "import.json").read_bytes())["unmatched"] == {GPT4_QBB: 1}
    assert len(recorded.responses("safety/jailbreak", "gpt-4")) == 11


def test_a_file_without_rows(world, tmp_path):
    world.put(world.record(QBB), [])
    run, recorded = world.replay(tmp_path / "out")
    assert recorded.report.read[GPT4_QBB] == 0
    cells = run.cells[(run.cells["model"] == "gpt-4") & (run.cells["table"] == "safety_jailbreak")]
    line = cells[(cells["column"] == "jailbreak") & (cells["rule"] == "authors")].iloc[0]
    assert pd.isna(line["value"])
    assert line["reason"]


# --- models and files nobody knows ---------------------------------------------------------------


def test_an_unknown_model_changes_nothing_else(world, tmp_path):
    run, recorded = world.replay(tmp_path / "with")
    assert "newcomer-1b" in recorded.models
    for path in world.records.rglob("newcomer-1b"):
        shutil.rmtree(path)
    without, _ = world.replay(tmp_path / "without")
    assert (run.path / "verify.csv").read_bytes() == (without.path / "verify.csv").read_bytes()
    new = run.cells["model"] == "newcomer-1b"
    assert set(run.cells.loc[new, "verdict"]) == {"not published"}
    assert run.cells.loc[new, "value"].notna().all()
    rest = run.cells[~new].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, without.cells)


def test_an_unknown_model_on_the_command_line(world, tmp_path):
    done = cli("replay", "--unverified", "--records", world.records, "--benchmark",
               world.benchmark, "--out", tmp_path / "out")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not among the 16 models of the paper" in done.stderr
    assert "newcomer-1b" in done.stderr
    assert "gpt-4" not in done.stderr


def test_files_of_unknown_form_are_listed_as_ignored(world, tmp_path):
    odd = "results/safety/jailbreak/gpt-4/jailbreak_XYZ.json"
    (world.records / odd).write_text("this is not even JSON", encoding="utf-8")
    (world.records / "results/safety/jailbreak/gpt-4/readme.txt").write_text("x", encoding="utf-8")
    run, recorded = world.replay(tmp_path / "out")
    assert recorded.report.ignored == [odd]
    assert json.loads((run.path / "import.json").read_bytes())["ignored"] == [odd]


def test_desktop_litter_and_unfinished_files_are_not_seen(world, tmp_path):
    digest = Archive(world.records).digest()
    folder = world.record(QBB).parent
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / ".jailbreak_QBB.json-ab12.partial").write_bytes(b"[{")
    _, recorded = world.replay(tmp_path / "out")
    assert recorded.digest == digest
    assert recorded.report.ignored == []
