"""The bench compares like with like: the same prompts, the same answers, all rounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("psutil")

from benchmarks import generation as bench
from benchmarks.contenders import (
    CONTENDERS,
    batched,
    continuous,
    one_at_a_time,
    one_forward_per_option,
    options_of_this_package,
    sorted_batched,
    this_package,
)
from tests.tiny import tiny_model
from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.errors import ReproError
from trustllm_repro.models.local import LocalModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def job() -> dict:
    prompts, options = bench.prompts_of(load_benchmark(MINIATURE), 1)
    return {
        "prompts": prompts, "options": [o or ["a", "bc"] for o in options], "part": [0, 1],
        "batch_size": 8, "max_new_tokens": 6,
    }  # fmt: skip


def test_all_ways_to_generate_give_the_same_answers_in_float32(folder: Path, job: dict) -> None:
    model = LocalModel(folder)
    expected = one_at_a_time(model, job)
    assert set(expected) == set(range(len(job["prompts"])))
    for way in (batched, sorted_batched):
        assert way(model, job) == expected
    assert continuous(LocalModel(folder, stock=True), job) == expected
    assert this_package(model, job) == expected


def test_both_ways_to_score_options_agree(folder: Path, job: dict) -> None:
    model = LocalModel(folder)
    one, two = one_forward_per_option(model, job), options_of_this_package(model, job)
    assert one.keys() == two.keys()
    for k in one:
        assert two[k] == pytest.approx(one[k], abs=1e-4)


def test_shares_are_disjoint_and_whole(folder: Path, job: dict) -> None:
    model = LocalModel(folder)
    parts = [this_package(model, job | {"part": [k, 2]}) for k in range(2)]
    assert not parts[0].keys() & parts[1].keys()
    assert {**parts[0], **parts[1]} == this_package(model, job)


def test_every_contender_of_the_table_exists() -> None:
    table = bench.contenders(("bfloat16", "float32"), cores=2)
    optional = {"lm_eval_generate", "lm_eval_options"}
    assert set(CONTENDERS) - optional <= {c.function for c in table} <= set(CONTENDERS)
    assert len({c.name for c in table}) == len(table)
    ours = [c for c in table if c.function == bench.OURS]
    assert {(c.processes, c.threads) for c in ours} == {(2, 1)}


@pytest.mark.slow
def test_a_whole_bench_writes_times_ratios_memory_and_machine(folder: Path, tmp_path: Path) -> None:
    to = tmp_path / "generation.json"
    bench.measure(
        str(folder), MINIATURE, to, per_task=1, max_new_tokens=4, repeats=2,
        dtypes=("float32",), say=lambda line: None,
    )  # fmt: skip
    facts = json.loads(to.read_text())
    assert facts["settings"]["repeats"] == 2
    ratio = facts["ratios"]["one prompt at a time, float32"]
    assert ratio["same_answers"] == ratio["answers"] == facts["settings"]["prompts"]
    assert ratio["min"] <= ratio["median"] <= ratio["max"]
    for one in facts["contenders"].values():
        assert one["peak_mb_per_process"] >= one["imports_mb"] > 0
    assert facts["machine"]["cpu"]


def test_a_contender_that_dies_is_named() -> None:
    import subprocess
    import sys

    process = subprocess.Popen(
        [sys.executable, "-c", "raise SystemExit(3)"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process, pytest.raises(ReproError, match="exit code 3"):
        bench.Team(bench.Contender("broken", "batched", "float32"), [process]).ready()
