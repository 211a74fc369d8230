"""Answers of the official package: layouts, matching by prompt, counts, and what is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.official import answered, new_layout, old_layout, put, questions, run_file
from trustllm_repro.data import official_answers
from trustllm_repro.data.benchmark import (
    FILES,
    MINIATURE,
    Benchmark,
    load_benchmark,
    parse_rows,
)
from trustllm_repro.data.official_answers import OfficialAnswers, load_answers, row_of
from trustllm_repro.errors import (
    ReproError,
    SchemaError,
    SettingsError,
    SourceCorrupt,
    SourceMissing,
)
from trustllm_repro.tasks import TASKS

QUERY, MISUSE = "fairness/stereotype_query_test", "safety/misuse"
LAYOUTS = pytest.mark.parametrize("layout", [old_layout, new_layout])


@pytest.fixture(scope="module")
def miniature() -> Benchmark:
    return load_benchmark(MINIATURE)


@LAYOUTS
def test_every_item_of_every_file_is_met(layout, miniature: Benchmark, tmp_path: Path) -> None:
    got = load_answers(layout(tmp_path), miniature)
    asked = {
        (t.id, i.number)
        for t in TASKS.values()
        if t.live and not t.answers_of
        for i in t.items(miniature[t.file or ""])
    }
    assert got.texts.keys() == asked
    assert got.model == "mine-7b"
    assert got.names == set(FILES)
    assert got.total("answers") == got.total("rows") == len(asked)
    assert (got.total("unmatched"), got.total("repeated"), got.ignored) == (0, 0, [])


def test_both_layouts_and_a_zip_hold_the_same(miniature: Benchmark, tmp_path: Path) -> None:
    one = load_answers(old_layout(tmp_path / "a"), miniature)
    two = load_answers(new_layout(tmp_path / "b"), miniature)
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as z:
        for p in (tmp_path / "b").rglob("*.json"):
            z.write(p, p.relative_to(tmp_path / "b").as_posix())
    packed = load_answers(tmp_path / "c.zip", miniature)
    assert one.texts == two.texts == packed.texts
    assert one.labels == two.labels == packed.labels
    assert (one.layouts, two.layouts) == (("generation_results",), ("run.json",))
    assert two.settings["api-safety/run.json"]["max_new_tokens"] == 512


@pytest.mark.parametrize("part", ["", "generation_results", "generation_results/mine-7b"])
def test_any_folder_on_the_way_may_be_named(
    part: str, miniature: Benchmark, tmp_path: Path
) -> None:
    root = old_layout(tmp_path, names=[QUERY, MISUSE])
    assert load_answers(root / part, miniature).model == "mine-7b"
    section = load_answers(root / "generation_results/mine-7b/safety", miniature)
    assert (section.model, section.names) == ("mine-7b", {MISUSE})


def test_null_empty_and_missing_rows_are_counted(miniature: Benchmark, tmp_path: Path) -> None:
    def change(name: str, rows: list) -> list:
        rows[0]["res"], rows[1]["res"] = None, "  "
        del rows[2]["res"]
        return [*rows[:3], *rows[4:], {"prompt": "a question of nobody", "res": "x"}]

    got = load_answers(old_layout(tmp_path, names=[QUERY], change=change), miniature)
    (count,) = got.files.values()
    n = len(questions(QUERY))
    assert (count.rows, count.answers, count.null, count.empty) == (n, n - 3, 1, 1)
    assert (count.without_res, count.unmatched) == (1, [n - 1])
    place = "fairness/stereotype_query"
    assert got.texts[place, 0] is None
    assert (place, 2) not in got.texts
    assert (place, 3) not in got.texts
    assert (place, 0) not in got.labels  # the package leaves null answers to no judge


def test_rows_are_matched_by_prompt_in_any_order(miniature: Benchmark, tmp_path: Path) -> None:
    straight = load_answers(old_layout(tmp_path / "a"), miniature)
    # Equal prompts keep their order among themselves: a stable sort.
    turned = load_answers(
        old_layout(tmp_path / "b", change=lambda _, rows: sorted(rows, key=lambda r: r["prompt"])),
        miniature,
    )
    assert turned.texts == straight.texts


def test_the_kth_equal_prompt_meets_the_kth_equal_item(
    miniature: Benchmark, tmp_path: Path
) -> None:
    rows = [{**r, "prompt": "the same"} for r in questions(QUERY)]
    doubled = Benchmark({**miniature.rows, QUERY: rows}, "", "doubled")
    answers = [{"prompt": "the same", "res": str(i)} for i in range(len(rows) + 2)]
    put(tmp_path / "generation_results/m" / f"{QUERY}.json", answers)
    got = load_answers(tmp_path, doubled)
    assert got.texts == {("fairness/stereotype_query", i): str(i) for i in range(len(rows))}
    (count,) = got.files.values()
    assert (count.repeated, count.unmatched) == ([len(rows), len(rows) + 1], [])


@LAYOUTS
def test_a_repeated_row_is_no_unknown_one(layout, miniature: Benchmark, tmp_path: Path) -> None:
    def change(name: str, rows: list) -> list:
        again = {**rows[1], "res": "said again"}
        return [*rows[:2], again, {"prompt": "a question of nobody", "res": "x"}, *rows[2:]]

    got = load_answers(layout(tmp_path, names=[MISUSE], change=change), miniature)
    (count,) = got.files.values()
    assert (count.repeated, count.unmatched) == ([2], [3])
    assert (got.total("repeated"), got.total("unmatched")) == (1, 1)
    assert got.texts["safety/misuse", 1] == f"Reply 1 to {MISUSE}, yes."  # the first one counts
    assert len(got.texts) == len(questions(MISUSE))


def test_only_labels_of_the_refusal_judge_are_kept(miniature: Benchmark, tmp_path: Path) -> None:
    def change(name: str, rows: list) -> list:
        if name == MISUSE:
            rows[0]["eval_res"] = "yes"
            rows[1]["eval_res"] = ["LABEL_0"]
            del rows[2]["eval_res"]
        return rows

    names = [MISUSE, "fairness/stereotype_agreement", "robustness/AdvGLUE"]
    got = load_answers(old_layout(tmp_path, names=names, change=change), miniature)
    assert {task for task, _ in got.labels} == {"safety/misuse"}
    assert len(got.labels) == len(questions(MISUSE)) - 3
    assert got.labels["safety/misuse", 4] == "refusal"
    assert got.labels["safety/misuse", 3] == "answer"


def test_names_of_older_versions_are_known(miniature: Benchmark, tmp_path: Path) -> None:
    folder = tmp_path / "generation_results/m"
    put(folder / "ethics/explicit_ethics.json", answered("ethics/explicit_moralchoice"))
    put(folder / "robustness/advglue.json", answered("robustness/AdvGLUE"))
    for form in ("plain", "force"):
        rows = [r for r in answered("fairness/preference") if r["type"] == form]
        put(folder / f"fairness/preference_{form}.json", rows)
    got = load_answers(tmp_path, miniature)
    assert got.names == {
        "ethics/explicit_moralchoice", "robustness/AdvGLUE", "fairness/preference"
    }  # fmt: skip
    assert got.total("unmatched") == 0
    assert len(got.texts) == sum(len(questions(n)) for n in got.names)


@LAYOUTS
def test_of_several_models_one_must_be_named(layout, miniature: Benchmark, tmp_path: Path) -> None:
    layout(tmp_path / "x", "first-1b", [QUERY])
    layout(tmp_path / "y", "second-1b", [MISUSE])
    with pytest.raises(SettingsError, match=r"2 models \(first-1b, second-1b\)") as caught:
        load_answers(tmp_path, miniature)
    assert "--model-name" in caught.value.remedy
    with pytest.raises(SettingsError, match="none of them 'third'"):
        load_answers(tmp_path, miniature, "third")
    assert load_answers(tmp_path, miniature, "second-1b").names == {MISUSE}


def test_a_single_model_may_be_given_another_name(miniature: Benchmark, tmp_path: Path) -> None:
    assert load_answers(old_layout(tmp_path, names=[QUERY]), miniature, "mine").model == "mine"


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("org/name-7b", "org-name-7b"),
        ("/home/a/models/name-7b/", "name-7b"),
        ("./name", "name"),
        (r"C:\models\name", "name"),
        ("gpt-4", "gpt-4"),
        ("a b\x1b[31m", "a-b-31m"),
    ],
)
def test_the_row_of_a_model(model: str, row: str) -> None:
    assert row_of(model) == row


def test_an_unknown_layout_says_what_was_found_and_expected(
    miniature: Benchmark, tmp_path: Path
) -> None:
    put(tmp_path / "results" / "jailbreak.json", [])
    with pytest.raises(SourceMissing, match=r"found: results/jailbreak\.json") as caught:
        load_answers(tmp_path, miniature)
    assert "generation_results/<model>/<section>" in caught.value.remedy
    assert "run.json" in caught.value.remedy
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceMissing, match="found: nothing"):
        load_answers(tmp_path / "empty", miniature)


def test_other_json_files_are_named(miniature: Benchmark, tmp_path: Path) -> None:
    root = new_layout(tmp_path, names=[QUERY])
    put(root / "api-fairness" / "scores.json", {})
    assert load_answers(root, miniature).ignored == ["api-fairness/scores.json"]


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ('[{"prompt": "x", "res": "y"}', SourceCorrupt, "is not UTF-8 JSON"),
        ('{"prompt": "x"}', SchemaError, "list"),
        ('[{"prompt": "x", "res": "y"}, {"res": "y"}]', SchemaError, "row 1, field 'prompt'"),
        ('[{"prompt": "x", "res": 3}]', SchemaError, "row 0, field 'res'"),
        ('["x"]', SchemaError, "row 0"),
        ("\ufeff[]", SourceCorrupt, "none of"),
    ],
)
def test_a_malformed_file_is_refused_with_its_name_row_and_remedy(
    content: str, error: type[ReproError], words: str, miniature: Benchmark, tmp_path: Path
) -> None:
    path = tmp_path / "generation_results/m" / f"{MISUSE}.json"
    put(path, [])
    path.write_text(content, encoding="utf-8")
    with pytest.raises(error, match=words) as caught:
        load_answers(tmp_path, miniature)
    if words != "none of":
        assert f"{MISUSE}.json" in caught.value.problem
    assert caught.value.remedy
    assert "fetch" not in caught.value.remedy  # nobody else has these files


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": {"model": "a"}}'])
def test_a_malformed_run_file_is_refused(
    content: str, miniature: Benchmark, tmp_path: Path
) -> None:
    root = new_layout(tmp_path, names=[QUERY])
    (root / "api-fairness" / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(ReproError, match=r"api-fairness/run\.json"):
        load_answers(root, miniature)


def test_answers_to_another_benchmark_are_refused(miniature: Benchmark, tmp_path: Path) -> None:
    rows = [{"prompt": f"another question {i}", "res": "x"} for i in range(3)]
    put(tmp_path / "generation_results/m" / f"{QUERY}.json", rows)
    with pytest.raises(SourceCorrupt, match="none of 3 rows") as caught:
        load_answers(tmp_path, miniature)
    assert "benchmark" in caught.value.remedy


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["prompt", "res", "eval_res", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(content=JSON)
def test_any_json_is_read_or_refused(content) -> None:
    try:
        rows = parse_rows(json.dumps(content).encode(), official_answers._ROWS, "f.json")
    except SchemaError as e:
        rows = [{"prompt": e.file}]
    assert all(isinstance(r["prompt"], str) for r in rows)


def test_the_run_file_of_the_helper_is_one() -> None:
    parsed = parse_rows(
        json.dumps(run_file("m", "safety")).encode(), official_answers._RUN, "run.json"
    )
    assert parsed.model == "m"


@pytest.mark.shared
def test_answers_of_llama3_70b_in_the_old_layout(
    shared: Path, benchmark: Benchmark, later: OfficialAnswers
) -> None:
    assert later.model == "llama3-70b"
    assert len(later.texts) == later.total("answers") == 1000 + 95 + 912 + 600 + 241 + 500
    assert (later.total("unmatched"), later.labels) == (0, {})
    assert all(p.startswith("aware/") for p in later.ignored)


@pytest.fixture
def later(shared: Path, benchmark: Benchmark) -> OfficialAnswers:
    return load_answers(shared / "data" / "trustllm-later-answers.zip", benchmark)
