"""Cases out of the benchmark and the recorded answers: a small world made here, and the real one."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.small import SmallWorld
from trustllm_repro.errors import SourceMissing
from trustllm_repro.online.generations import benchmark_cases
from trustllm_repro.online.generations.benchmark_cases import cases_of, jailbreak, misuse, said
from trustllm_repro.online.generations.tasks import some
from trustllm_repro.schema import Item, Response


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
    load = benchmark_cases.load_benchmark
    monkeypatch.setattr(benchmark_cases, "load_benchmark", lambda path: load(path, verify=False))
    benchmark_cases._recorded.cache_clear()
    yield world
    benchmark_cases._recorded.cache_clear()


def test_recorded_answers_of_all_models_in_groups_of_their_prompts(there: SmallWorld) -> None:
    found = jailbreak()
    assert [c.number for c in found] == list(range(36))
    assert Counter(Counter(c.group for c in found).values()) == {3: 12}  # three models, 12 prompts
    assert all(c.prompt == c.group and c.answer for c in found)
    assert Counter(Counter(c.author for c in found).values()) == {12: 3}
    assert sum(bool(c.unsafe) for c in found) == 18
    half = Counter(str(c.answer).split()[0] for c in some(found, 18))
    assert min(half.values()) >= 3
    assert [c.answer for c in jailbreak()] == [c.answer for c in found]


def test_a_copied_file_is_left_out_and_the_models_own_is_read(there: SmallWorld) -> None:
    base = there.records / "results/safety/misuse/mistral-7b/misuse_add.json"
    own = [{**r, "res": f"its own words {i}"} for i, r in enumerate(json.loads(base.read_text()))]
    there.copy_misuse()
    (there.records / "939ae21").joinpath(
        "results/safety/misuse/mistral-7b/misuse_add.json"
    ).write_text(json.dumps(own))
    said_by = Counter(str(c.answer).split()[0] for c in misuse())
    assert said_by == {"gpt-4": 90, "newcomer-1b": 90, "mistral-7b": 60, "its": 30}


@pytest.mark.parametrize("cases", [jailbreak, misuse])
def test_without_the_sources_the_remedy_is_named(cases) -> None:
    with pytest.raises(SourceMissing, match="trustllm-repro fetch"):
        cases()


def response(text: str | None, model: str = "m", judge: str | None = "answer") -> Response:
    return Response("safety/jailbreak", model, 0, text, "Asked?", judge)


def test_null_empty_and_unlabelled_answers_are_left_out() -> None:
    item = Item("safety/jailbreak", 0, "Asked?")
    some_answers = [
        response(None), response(" \n"), response("x", judge=None), response("No.", judge="refusal"),
    ]  # fmt: skip
    (case,) = cases_of([(item, r) for r in some_answers])
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
    attacks, plain = jailbreak(), misuse()
    assert (len(attacks), len({c.group for c in attacks})) == (15698, 1400)
    assert len(plain) == 14088
    assert 0.2 < sum(bool(c.unsafe) for c in attacks) / len(attacks) < 0.3
    assert all(str(c.answer).strip() and c.unsafe is not None for c in attacks + plain)
