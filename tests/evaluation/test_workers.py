"""Several processes make the rows that one makes."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.notes import Notes
from tests.tiny import tiny_model
from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.errors import ReproError, SettingsError
from trustllm_repro.evaluation.generate import (
    WORTH_WORKERS,
    ResponseStore,
    Settings,
    _devices,
    generate,
    launch,
    make_plan,
    work,
)
from trustllm_repro.models import weights
from trustllm_repro.models.find import find_model
from trustllm_repro.models.weights import digest_of

SETTINGS = Settings(dimensions=("privacy", "ethics"), limit=3, max_new_tokens=5, samples=2)
ASKED = {"system": SETTINGS.system, "sampling": SETTINGS.sampling}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny") / "m", context=4096)


def facts(folder, out, **more):
    """Arguments of a worker, as they come out of JSON."""
    model = {
        "name": "m", "dtype": "float32", "batch_size": 8, "stock": False,
        "digest": digest_of(folder.glob("*.safetensors")), **more,
    }  # fmt: skip
    found = {
        "folder": str(folder), "model": model, "benchmark": MINIATURE, "verify": True,
        "out": str(out), "settings": asdict(SETTINGS),
    }  # fmt: skip
    return json.loads(json.dumps(found))


@pytest.fixture
def asked(folder):
    return make_plan(find_model(str(folder), **ASKED), load_benchmark(MINIATURE), SETTINGS)


@pytest.fixture
def alone(folder, asked, tmp_path) -> ResponseStore:
    """What one process makes."""
    store = ResponseStore(tmp_path / "alone", "m")
    generate(find_model(str(folder), **ASKED), asked, store)
    return store


def rows(store: ResponseStore) -> list[str]:
    return sorted(json.dumps(r, sort_keys=True) for r in store.lines.read())


def test_a_job_is_done_by_a_worker(folder, asked, alone, tmp_path, monkeypatch):
    job, read, sha256 = facts(folder, tmp_path / "work"), [], weights.file_sha256
    monkeypatch.setattr(weights, "file_sha256", lambda p: read.append(p.suffix) or sha256(p))
    work(**job, device="cpu", share=(0, 1))
    assert ".safetensors" not in read  # hashed by the process that starts the workers
    assert rows(ResponseStore(tmp_path / "work", "m")) == rows(alone)


@pytest.mark.slow
def test_two_workers_make_the_rows_of_one(folder, asked, alone, tmp_path):
    store, notes = ResponseStore(tmp_path / "two", "m"), Notes()
    store.lines.append([])
    cost = launch(facts(folder, tmp_path / "two"), asked, store, ["cpu"] * 2, notes)
    assert rows(store) == rows(alone)
    made = store.load()
    assert ("answering", cost.answers, cost.answers) == notes.steps[-1][:3]
    assert cost.answers == len(made)
    assert cost.new_tokens == sum(c.new_tokens for c in made.values())
    assert cost.prompt_tokens == sum(c.prompt_tokens for c in made.values())


def test_a_worker_on_every_core_where_there_is_enough_to_do(folder, monkeypatch):
    model = find_model(str(folder), device="cpu")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2})
    assert _devices(0, model, WORTH_WORKERS) == ["cpu"] * 3
    assert _devices(0, model, WORTH_WORKERS - 1) == ["cpu"]
    assert _devices(2, model, 1) == ["cpu"] * 2
    size = sum(p.stat().st_size for p in folder.glob("*.safetensors"))
    memory = SimpleNamespace(available=9 * size)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    assert _devices(0, model, WORTH_WORKERS) == ["cpu"] * 2


def test_what_has_no_folder_is_asked_by_this_process():
    model = SimpleNamespace(name="an endpoint")
    assert len(_devices(0, model, 10**6)) == len(_devices(1, model, 10**6)) == 1
    with pytest.raises(SettingsError, match="several processes cannot ask an endpoint"):
        _devices(2, model, 10**6)


def test_shares_of_workers_are_disjoint_and_whole(folder, asked, alone, tmp_path):
    for k in range(2):
        work(**facts(folder, tmp_path / str(k)), device="cpu", share=(k, 2))
    parts = [rows(ResponseStore(tmp_path / str(k), "m")) for k in range(2)]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == rows(alone)


@pytest.mark.slow
def test_a_worker_that_fails_is_an_error_that_names_the_cause(folder, asked, tmp_path):
    store = ResponseStore(tmp_path / "out", "m")
    with pytest.raises(ReproError, match="worker stopped") as caught:
        launch(facts(tmp_path, tmp_path / "out", digest="0"), asked, store, ["cpu"])
    assert caught.value.remedy
    assert store.load() == {}
