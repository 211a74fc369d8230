"""Several processes make the rows that one makes."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from tests.tiny import tiny_model
from trustllm_repro.data.benchmark import MINIATURE, open_benchmark
from trustllm_repro.errors import ReproError
from trustllm_repro.evaluation import workers
from trustllm_repro.evaluation.generate import generate
from trustllm_repro.evaluation.plan import Settings, make_plan
from trustllm_repro.evaluation.responses import Asked, ResponseStore
from trustllm_repro.evaluation.workers import _Tail, job_of, launch, work
from trustllm_repro.models import weights
from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.models.find import find_model
from trustllm_repro.models.weights import digest_of

SETTINGS = Settings(dimensions=("privacy", "ethics"), limit=3, max_new_tokens=5, samples=2)
ASKED = {"system": SETTINGS.system, "sampling": SETTINGS.sampling}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny") / "m", context=4096)


def facts(folder, out, **more):
    return job_of(
        SETTINGS,
        **{
            "folder": str(folder), "name": "m", "digest": digest_of(folder.glob("*.safetensors")),
            "stock": False, "benchmark": MINIATURE, "out": str(out), "dtype": "float32",
            "batch_size": 8, "verify": True, "on_cpu": True, **more,
        },
    )  # fmt: skip


@pytest.fixture
def asked(folder):
    return make_plan(find_model(str(folder), **ASKED), open_benchmark(MINIATURE), SETTINGS)


@pytest.fixture
def alone(folder, asked, tmp_path) -> ResponseStore:
    """What one process makes."""
    store = ResponseStore(tmp_path / "alone", "m")
    generate(find_model(str(folder), **ASKED), asked, store)
    return store


def rows(store: ResponseStore) -> list[str]:
    return sorted(json.dumps(r, sort_keys=True) for r in store.lines.read())


def test_a_job_survives_json_and_is_done_by_a_worker(folder, asked, alone, tmp_path, monkeypatch):
    job = json.loads(json.dumps(facts(folder, tmp_path / "work")))
    read, sha256 = [], weights.file_sha256
    monkeypatch.setattr(weights, "file_sha256", lambda p: read.append(p.suffix) or sha256(p))
    work(job)
    assert ".safetensors" not in read  # hashed by the process that starts the workers
    assert rows(ResponseStore(tmp_path / "work", "m")) == rows(alone)


@pytest.mark.slow
def test_two_workers_make_the_rows_of_one(folder, asked, alone, tmp_path, monkeypatch):
    started, start = [], workers._start
    monkeypatch.setattr(workers, "_start", lambda *a: started.append(start(*a)) or started[-1])
    store, seen = ResponseStore(tmp_path / "two", "m"), []
    store.lines.append([])
    cost = launch(facts(folder, tmp_path / "two"), asked, store, 2, True, lambda *f: seen.append(f))
    assert rows(store) == rows(alone)
    assert len(started) == 2
    made = store.load()
    assert cost.answers == len(made) == seen[-1][0] == seen[-1][1]
    assert cost.new_tokens == sum(c.new_tokens for c in made.values()) == seen[-1][2]
    assert cost.prompt_tokens == sum(c.prompt_tokens for c in made.values())


def test_every_worker_on_a_cpu_gets_a_share_of_its_own(tmp_path):
    """accelerate starts one CPU process whatever number it is given."""
    commands = workers._commands(tmp_path / "job.json", 3, on_cpu=True)
    assert [c[-2:] for c in commands] == [["0", "3"], ["1", "3"], ["2", "3"]]
    assert len(workers._commands(tmp_path / "job.json", 3, on_cpu=False)) == 1


def test_shares_of_workers_are_disjoint_and_whole(folder, asked, alone, tmp_path):
    for k in range(2):
        work(facts(folder, tmp_path / str(k)), (k, 2))
    parts = [rows(ResponseStore(tmp_path / str(k), "m")) for k in range(2)]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == rows(alone)


@pytest.mark.slow
def test_a_worker_that_fails_is_an_error_that_names_the_cause(folder, asked, tmp_path):
    store = ResponseStore(tmp_path / "out", "m")
    with pytest.raises(ReproError, match="worker stopped") as caught:
        launch(facts(tmp_path, tmp_path / "out", digest="0"), asked, store, 1, True)
    assert caught.value.remedy
    assert store.load() == {}


def test_what_is_appended_while_others_write_is_counted_once(tmp_path):
    store = ResponseStore(tmp_path, "m")
    before = Asked("t", 0, 0, "before")
    store.add([(before, Completion("x", Finish.STOP, 9, 9))])
    tail = _Tail(store.lines.path, {"a", "b", "before"})
    assert tail.look(2) == (0, 2, 0)  # what was there is not counted
    store.add([(Asked("t", 1, 0, "a"), Completion("\u2028", Finish.STOP, 3, 4))])
    store.add([(Asked("t", 2, 0, "other run"), Completion("y", Finish.STOP, 3, 4))])
    line = json.dumps({"key": "b", "new_tokens": 5, "prompt_tokens": 2}).encode()
    with open(store.lines.path, "ab") as f:
        f.write(line[:9])
    assert tail.look(2) == (1, 2, 4)
    with open(store.lines.path, "ab") as f:
        f.write(line[9:] + b"\n[1]\nno json\n{}\n")
    assert tail.look(2) == (2, 2, 9)
    assert tail.look(2) == (2, 2, 9)
    assert tail.read_tokens == 5


def test_a_store_that_is_not_there_yet(tmp_path):
    tail = _Tail(tmp_path / "no" / "file", {"a"})
    assert tail.look(1) == (0, 1, 0)
