"""The importer on a small made-up world; answers of the official package: layouts, matching by
prompt, counts, and what is refused."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.official import answered, new_layout, old_layout, put, questions, run_file
from tests.small import SmallWorld, refusal
from trustllm_repro.data import recorded as module
from trustllm_repro.data.benchmark import (
    FILES,
    MINIATURE,
    Benchmark,
    load_benchmark,
    parse_rows,
)
from trustllm_repro.data.recorded import (
    MatchedFile,
    OfficialAnswers,
    Recorded,
    align,
    find_files,
    load_answers,
    load_recorded,
    row_of,
)
from trustllm_repro.errors import (
    ReproError,
    SchemaError,
    SettingsError,
    SourceCorrupt,
    SourceMissing,
)
from trustllm_repro.parsers.original import yes_no
from trustllm_repro.schema import Response
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import RecordFormat, Task


def load(world: SmallWorld) -> Recorded:
    return load_recorded(world.records, load_benchmark(world.benchmark, verify=False))


def test_every_model_directory_of_a_known_form_is_taken(world: SmallWorld) -> None:
    recorded = load(world)
    assert recorded.models == sorted(world.models)
    assert len(recorded.responses("safety/misuse", "newcomer-1b")) == 90
    assert recorded.report.unmatched == {}


def test_a_zip_reads_like_its_folder(world: SmallWorld) -> None:
    folder = load(world)
    packed = load_recorded(
        world.zip(world.records), load_benchmark(world.zip(world.benchmark), verify=False)
    )
    assert packed.answers == folder.answers


def test_a_leading_folder_in_the_archive_does_not_matter(world: SmallWorld) -> None:
    names = [p.relative_to(world.records).as_posix() for p in world.records.rglob("*.json")]
    plain, _ = find_files(names)
    nested, _ = find_files([f"some-archive/{n}" for n in names])
    assert len(plain) == len(nested) > 0


def split(world: SmallWorld, tmp_path: Path) -> tuple[Path, Path]:
    """The records in two ZIPs: one of misuse answers, one of all others."""
    other = tmp_path / "apart" / "misuse"
    (world.records / "results/safety/misuse").rename(world.put(other / "x", []).parent / "misuse")
    (other / "x").unlink()
    target = other / "results/safety/misuse"
    target.parent.mkdir(parents=True)
    (other / "misuse").rename(target)
    return world.zip(world.records), world.zip(other)


def test_several_archives_read_as_one(world: SmallWorld, tmp_path: Path) -> None:
    whole = load(world)
    parts = split(world, tmp_path)
    questions = load_benchmark(world.benchmark, verify=False)
    both = load_recorded(parts, questions)
    assert both.answers == whole.answers
    assert both.digest == load_recorded(parts[::-1], questions).digest
    assert both.digest != load_recorded(parts[0], questions).digest


def test_a_folder_stands_for_the_zips_in_it(world: SmallWorld, tmp_path: Path) -> None:
    whole = load(world)
    for i, path in enumerate(split(world, tmp_path)):
        path.rename(tmp_path / f"{i}.zip")
    world.zip(world.benchmark).rename(tmp_path / "dataset.zip")
    questions = load_benchmark(world.benchmark, verify=False)
    (tmp_path / "together").mkdir()
    for path in tmp_path.glob("*.zip"):
        path.rename(tmp_path / "together" / path.name)
    assert load_recorded(tmp_path / "together", questions).answers == whole.answers


def test_the_same_file_in_two_archives_is_read_once(world: SmallWorld, tmp_path: Path) -> None:
    questions = load_benchmark(world.benchmark, verify=False)
    packed = world.zip(world.records)
    assert load_recorded([packed, world.records], questions).answers == load(world).answers
    world.put(next(world.records.rglob("ood_detection.json")), [])
    with pytest.raises(SourceCorrupt, match=r"ood_detection\.json differs in .* and in"):
        load_recorded([packed, world.records], questions)
    with pytest.raises(SourceMissing, match="no archive"):
        load_recorded([], questions)


def test_answers_of_the_released_package_are_taken(world: SmallWorld) -> None:
    rows = [
        {**r, "res": "no", "eval_res": "LABEL_0"}
        for r in world.rows["fairness/stereotype_query_test"]
    ]
    path = "top/generation_results/newer-9b/fairness/stereotype_query_test.json"
    world.put(world.records / path, rows)
    got = load(world).responses("fairness/stereotype_query", "newer-9b")
    assert {(r.record_format, r.judge) for r in got} == {("toolkit", "refusal")}
    assert [r.number for r in got] == list(range(len(rows)))


def test_awareness_rows_meet_the_dimension_they_belong_to(world: SmallWorld) -> None:
    """The stored files call capability awareness introspective, and keep another order."""
    asked = [
        {"prompt": f"Which? {d} {i} A) x B) y", "label": "A", "dimension": d}
        for d in ("capability", "mission")
        for i in range(3)
    ]
    world.put(world.benchmark / "ethics/awareness.json", asked)
    names = {"capability": "introspective"}
    rows = [{**r, "res": "A", "dimension": names.get(r["dimension"], "mission")} for r in asked]
    world.put(world.records / "aware/newer-9b/awareness_glm_turbo.json", rows[::-1])
    recorded = load(world)
    assert len(recorded.responses("ethics/awareness_capability", "newer-9b")) == 3
    assert len(recorded.responses("ethics/awareness_mission", "newer-9b")) == 3
    assert recorded.report.unmatched == {}
    del rows[2]["dimension"]
    world.put(world.records / "aware/newer-9b/awareness_glm_turbo.json", rows)
    with pytest.raises(SchemaError, match="row 2, field 'dimension'"):
        load(world)


def test_judge_labels_null_and_empty_answers_keep_their_difference(world: SmallWorld) -> None:
    path = next(world.records.rglob("ood_detection.json"))
    rows = json.loads(path.read_text())
    rows[0] |= {"res": None, "longformer_res": None}
    rows[1] |= {"res": ""}
    rows[2].pop("longformer_res")
    rows[3] |= {"res": "一段中文回答"}
    rows[4] |= {"res": '{"result": "raw reply"}', "longformer_res": [], "eval_res": "LABEL_0"}
    world.put(path, rows)
    got = load(world).responses("robustness/ood_detection", path.parent.name)
    assert [r.text for r in got][:5] == [
        None,
        "",
        rows[2]["res"],
        "一段中文回答",
        '{"result": "raw reply"}',
    ]
    assert [r.judge for r in got][:5] == [None, "answer", None, "answer", "refusal"]


def test_a_copied_file_is_proved_and_the_own_answers_are_found(world: SmallWorld) -> None:
    world.copy_misuse()
    recorded = load(world)
    assert recorded.report.copies == [
        (
            "results/safety/misuse/mistral-7b/misuse_add.json",
            "results/safety/misuse/gpt-4/misuse_add.json",
            30,
        )
    ]
    said = recorded.answers["safety/misuse", "mistral-7b"]
    assert Counter(r.revision for r in said) == {"published": 60, "copy": 30, "own": 30}
    assert all("mistral-7b" in (r.text or "") for r in said if r.revision == "own")


def test_another_commit_of_a_file_that_is_no_copy_is_not_used(world: SmallWorld) -> None:
    path = "results/robustness/ood/gpt-4/ood_detection.json"
    world.put(world.records / "0123abc" / path, world.answers("gpt-4")[path])
    said = load(world).answers["robustness/ood_detection", "gpt-4"]
    assert {r.revision for r in said} == {"published", "other"}


def test_swapped_jailbreak_files_are_matched_by_prompt(world: SmallWorld) -> None:
    folder = world.records / "results/safety/jailbreak/gpt-4"
    itc, qbb = folder / "jailbreak_ITC.json", folder / "jailbreak_QBB.json"
    a, b = itc.read_text(), qbb.read_text()
    itc.write_text(b)
    qbb.write_text(a)
    recorded = load(world)
    for r in recorded.responses("safety/jailbreak", "gpt-4"):
        source = recorded.items["safety/jailbreak"][r.number].facets[0]
        assert {r.record_format, source} == {"ITC", "QBB"}


def test_items_that_stand_only_in_the_records(world: SmallWorld) -> None:
    level_1 = "Please indicate how sensitive people would consider the following: {}"
    rows = [
        {"prompt": level_1.format(i), "label": "3.5", "res": "4) very sensitive"} for i in (1, 2)
    ]
    rows += [{**r, "res": "50"} for r in world.rows["privacy/privacy_awareness_confAIde"]]
    world.put(world.records / "results/privacy/awareness/gpt-4/confAIde_0.json", rows)
    recorded = load(world)
    assert len(recorded.items["privacy/confaide_sensitivity"]) == 2
    assert len(recorded.responses("privacy/confaide_sensitivity", "gpt-4")) == 2
    assert len(recorded.responses("privacy/confaide", "gpt-4")) == 6
    assert recorded.report.unmatched == {}


@pytest.mark.parametrize(
    ("name", "model", "commit"),
    [
        ("results/x/gpt-4/a(1).json", "gpt-4", None),
        ("939ae21/results/x/gpt-4/a(1).json", "gpt-4", "939ae21"),
        ("top/939ae21/results/x/a b/a(1).json", "a b", "939ae21"),
        ("top/results/x/gpt-4/a(1).json", "gpt-4", None),
    ],
)
def test_paths(name: str, model: str, commit: str | None) -> None:
    found = RecordFormat("results/x/{model}/a(1).json").pattern().fullmatch(name)
    assert found is not None
    assert (found["model"], found["commit"]) == (model, commit)


@pytest.mark.parametrize("name", ["results/x/gpt-4/b.json", "results/x/a/b/a(1).json", "x.json"])
def test_other_paths_are_not_taken(name: str) -> None:
    assert RecordFormat("results/x/{model}/a(1).json").pattern().fullmatch(name) is None


def test_refusal_helper_of_the_small_world() -> None:
    assert refusal(True)[0]["label"] == "LABEL_0"


# --- rows meet items: equal prompts, older wording by position, answers without prompts

FORMAT = RecordFormat("results/{model}/x.json")
TASK = Task("d/t", "t", "?", "s", "f", yes_no, (), facets={"source": "source"})


def stored(
    rows: list[dict], record_format: RecordFormat = FORMAT, task: Task = TASK
) -> MatchedFile:
    return MatchedFile(task, record_format, "m", "x", "", rows=rows)


def rows(*prompts: str, source: str = "a") -> list[dict]:
    return [{"prompt": p, "source": source, "res": p} for p in prompts]


def test_the_kth_equal_prompt_meets_the_kth_equal_item() -> None:
    items = TASK.items(rows("p", "q", "p"))
    assert align(stored(rows("p", "p", "q")), items).pairs == [(0, 0), (1, 2), (2, 1)]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.randoms(use_true_random=False))
def test_any_shuffle_is_matched_completely_and_once(prompts, random) -> None:
    items, shuffled = TASK.items(rows(*prompts)), list(prompts)
    random.shuffle(shuffled)
    found = align(stored(rows(*shuffled)), items)
    assert sorted(n for _, n in found.pairs) == list(range(len(prompts)))
    assert all(shuffled[i] == items[n].prompt for i, n in found.pairs)
    assert found.unmatched == 0


def test_strange_prompts_are_counted_not_guessed() -> None:
    found = align(stored(rows("p", "other")), TASK.items(rows("p", "q")))
    assert (found.pairs, found.by_position, found.unmatched) == ([(0, 0)], 0, 1)


def test_by_position_needs_the_group_and_the_same_number() -> None:
    record_format = RecordFormat("x/{model}", by_position="source")
    items = TASK.items(rows("p", "q") + rows("r", source="b"))
    older = rows("old p", "old q") + rows("old r", "old s", source="b")
    found = align(stored(older, record_format), items)
    assert found.pairs == [(0, 0), (1, 1)]  # two for two in group a, two for one in group b
    assert (found.by_position, found.unmatched) == (2, 2)


def test_a_number_meets_the_same_number_as_text() -> None:
    items = TASK.items([{"prompt": "p", "source": "a", "index": 7}])
    file = stored([{"index": "7", "res": "said"}], RecordFormat("x/{model}", key=("index",)))
    assert align(file, items).pairs == [(0, 0)]


def test_where_limits_the_items_and_select_the_rows() -> None:
    record_format = RecordFormat(
        "x/{model}", where={"source": "b"}, select=lambda r: not r["prompt"].startswith("skip")
    )
    items = TASK.items(rows("p") + rows("p", source="b"))
    assert align(stored(rows("skip", "p"), record_format), items).pairs == [(1, 1)]


def toxicity(labels: list[str]) -> tuple[Task, list]:
    facets = {"source": "source", "a": lambda r, n: "x"}
    task = Task("d/t", "t", "?", "s", "f", yes_no, (), facets=facets, answers_of="j")
    raw = [{"prompt": str(i), "source": s, "label": ["x"]} for i, s in enumerate(labels)]
    return task, task.items(raw)


def csv_row(text: str, kind: str, label: str = "x") -> dict:
    return {"res": text, "type": kind, "label": label, "toxicity": "0.5"}


def test_rows_without_prompts_join_on_answers_whatever_the_sides_are_called() -> None:
    task, items = toxicity(["ITC", "ITC", "QBB"])
    joined = [Response("j", "m", n, t) for n, t in enumerate(["one", "two", "three"])]
    record_format = RecordFormat("x/{model}", "csv")
    scored = [
        csv_row("two", "jailbreak"),
        csv_row("three", "toxicity"),
        csv_row("one", "jailbreak"),
    ]
    assert align(stored(scored, record_format, task), items, joined).pairs == [
        (0, 1),
        (1, 2),
        (2, 0),
    ]


def test_a_scored_row_that_joins_nothing_keeps_a_place() -> None:
    task, items = toxicity(["ITC", "QBB", "QBB"])
    joined = [Response("j", "m", 0, "one"), Response("j", "m", 1, "two")]
    scored = [csv_row("one", "toxicity"), csv_row("two", "jailbreak"), csv_row("?", "jailbreak")]
    found = align(stored(scored, RecordFormat("x/{model}", "csv"), task), items, joined)
    assert found.pairs == [(0, 0), (1, 1), (2, 2)]
    assert (found.by_position, found.unmatched) == (1, 0)


# --- answers that the released package has made

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
    assert count == {
        "file": QUERY, "rows": n, "answers": n - 3, "null": 1, "empty": 1, "without_res": 1,
        "labels": n - 3, "unmatched": [n - 1], "repeated": [],
    }  # fmt: skip
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


def test_the_kth_answer_of_the_package_meets_the_kth_equal_item(
    miniature: Benchmark, tmp_path: Path
) -> None:
    rows = [{**r, "prompt": "the same"} for r in questions(QUERY)]
    doubled = Benchmark({**miniature.rows, QUERY: rows}, "", "doubled")
    answers = [{"prompt": "the same", "res": str(i)} for i in range(len(rows) + 2)]
    put(tmp_path / "generation_results/m" / f"{QUERY}.json", answers)
    got = load_answers(tmp_path, doubled)
    assert got.texts == {("fairness/stereotype_query", i): str(i) for i in range(len(rows))}
    (count,) = got.files.values()
    assert (count["repeated"], count["unmatched"]) == ([len(rows), len(rows) + 1], [])


@LAYOUTS
def test_a_repeated_row_is_no_unknown_one(layout, miniature: Benchmark, tmp_path: Path) -> None:
    def change(name: str, rows: list) -> list:
        again = {**rows[1], "res": "said again"}
        return [*rows[:2], again, {"prompt": "a question of nobody", "res": "x"}, *rows[2:]]

    got = load_answers(layout(tmp_path, names=[MISUSE], change=change), miniature)
    (count,) = got.files.values()
    assert (count["repeated"], count["unmatched"]) == ([2], [3])
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
        rows = parse_rows(json.dumps(content).encode(), module._ANSWERED, "f.json")
    except SchemaError as e:
        rows = [{"prompt": e.file}]
    assert all(isinstance(r["prompt"], str) for r in rows)


def test_the_run_file_of_the_helper_is_one() -> None:
    parsed = parse_rows(json.dumps(run_file("m", "safety")).encode(), module._RUN, "run.json")
    assert parsed["settings"]["model"]["model"] == "m"


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
