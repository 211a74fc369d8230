"""30_early_tokens_gpu: a study in a folder of its own, and costs as they were measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trustllm_repro.report import early_tokens, online
from trustllm_repro.run_notebooks.notebook import check

ASKED = check("30_early_tokens_gpu", {"run_dir": "x"})


def measurement(gpu: str = "", **settings: str) -> dict:
    watched = {
        "tokens_per_second": 90.0, "peak_gpu_gib": 2.5 if gpu else None,
        "together_percent": {"median": 5.04, "min": -1.0, "max": 7.26},
    }  # fmt: skip
    least = {**watched, "together_percent": {"median": 0.5, "min": 0.1, "max": 0.9}}
    one = {
        "plain_tokens_per_second": 100.0, "plain_peak_gpu_gib": 2.0 if gpu else None,
        "all single-pass": watched, "likelihood and entropy": least,
    }  # fmt: skip
    return {
        "batch_size": {"8": one, "32": one, "1": one}, "settings": settings,
        "machine": {"cpu": "some CPU", "gpu": {"names": [gpu]} if gpu else None},
    }  # fmt: skip


@pytest.fixture
def measured(tmp_path, monkeypatch) -> Path:
    """A run folder with its own measurement on a GPU, and a committed one on a CPU."""
    run = tmp_path / "run"
    (tmp_path / "data" / "measurements").mkdir(parents=True)
    run.mkdir()
    monkeypatch.setattr(early_tokens, "data_dir", lambda: tmp_path / "data")
    committed = tmp_path / "data" / "measurements" / "overhead.json"
    committed.write_text(json.dumps(measurement(model="m")))
    (run / "overhead_7b.json").write_text(json.dumps(measurement("some GPU", shape="7b")))
    return run


def test_costs_are_those_committed_and_those_of_the_run(measured) -> None:
    frame = early_tokens.costs(measured)
    assert frame["batch"].tolist() == [1, 8, 32] * 2
    assert frame["on"].tolist() == ["some CPU"] * 3 + ["some GPU"] * 3
    assert frame["measured"].tolist() == ["committed"] * 3 + ["this run"] * 3
    assert frame["model"].tolist() == ["m"] * 3 + ["random weights, 7b"] * 3
    assert frame.loc[0, "all single-pass, % more"] == "5.0 (-1.0 to 7.3)"
    assert frame.loc[0, "likelihood and entropy, % more"] == "0.5 (0.1 to 0.9)"
    assert frame["GPU GiB, watched"].isna().tolist() == [True] * 3 + [False] * 3


def test_the_committed_measurement_can_be_shown(tmp_path) -> None:
    assert {1, 8, 32} <= set(early_tokens.costs(tmp_path)["batch"])


def test_nothing_is_timed_unless_asked(tmp_path) -> None:
    assert early_tokens.NOT_MEASURED in early_tokens.measure(tmp_path, ASKED)
    assert not list(tmp_path.iterdir())


def test_the_model_is_timed_and_a_large_shape_only_on_a_gpu(tmp_path, monkeypatch) -> None:
    overhead = pytest.importorskip("trustllm_repro.online.overhead")
    monkeypatch.setattr(overhead, "of", lambda *asked: {"asked": asked})
    asked = ASKED | {"repeats": 2, "shape": "7b", "device": "cpu"}
    assert early_tokens.NO_GPU in early_tokens.measure(tmp_path, asked)
    (path,) = tmp_path.iterdir()
    assert path.name == "overhead_model.json"
    assert json.loads(path.read_text())["asked"] == ["smollm2-135m", "", "auto", "cpu", 2]


def test_one_pass_is_watched_in_batches_that_were_asked_for(tmp_path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(online, "watch", lambda *run, **job: seen.append((run, job)) or "page")
    asked = ASKED | {"batch_size": 64, "prompts": "p.jsonl"}
    assert early_tokens.watch(tmp_path, asked) == "page"
    ((where, job),) = seen
    assert where == (tmp_path, ["smollm2-135m"])
    assert (job["batch_size"], job["prompts"]) == (64, "p.jsonl")
    assert job["allowed"] == "single pass"
