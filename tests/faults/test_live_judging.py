"""kill -9 while answers are made, judged, scored and written: the tables are those of a calm run."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("psutil")

from tests.faults.nursery import Nursery
from tests.faults.world import facts, finished, leftovers
from tests.tiny import tiny_model
from trustllm_repro.sources.manifests import data_dir

JUDGED = {"dimensions": ["ethics", "safety"], "max_new_tokens": 6, "limit": 6}


@dataclass(frozen=True)
class Calm:
    """An unbroken evaluation: its folder, seconds it took, and seconds once all is answered."""

    out: Path
    whole: float
    rest: float


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    made = Nursery(tiny_model(tmp_path_factory.mktemp("models") / "m", context=4096))
    yield made
    made.close()


@pytest.fixture(scope="module")
def calm(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    for name in ("refusal", "toxicity"):
        if not (data_dir() / "judges" / f"{name}.safetensors").exists():
            pytest.skip(f"the weights of the {name} judge are not there")
    out = tmp_path_factory.mktemp("calm") / "run"
    times = [time.monotonic()]
    for _ in range(2):
        nursery.run("evaluate", out, **JUDGED)
        times.append(time.monotonic())
    return Calm(out, times[1] - times[0], times[2] - times[1])


APPENDED = ("responses/m.jsonl", "likelihoods/m.jsonl")


def tables(out: Path) -> dict[str, bytes]:
    """All files of a run; appended ones with their lines in order of content.

    sittings.jsonl tells the seconds of every sitting, so it differs as provenance.json does.
    """
    files = facts(finished(out))
    files.pop("sittings.jsonl", None)
    for name in APPENDED:
        if name in files:
            files[name] = b"\n".join(sorted(files[name].splitlines()))
    return files


def check_evaluation(nursery: Nursery, out: Path, calm: Calm, times: int, seed: int) -> None:
    """The second half of the kills hits a run whose answers are all there: judging and writing."""
    rng, early = random.Random(seed), 0
    for kill in range(times):
        if kill == times // 2:
            nursery.run("evaluate", out, **JUDGED)
        child = nursery.start("evaluate", out, **JUDGED)
        time.sleep(rng.uniform(0.05, 0.95) * (calm.whole if kill < times // 2 else calm.rest))
        early += nursery.kill(child)
        for name in APPENDED:
            if (out / name).exists():
                keys = [json.loads(x)["key"] for x in (out / name).read_bytes().splitlines()]
                assert len(keys) == len(set(keys))
    assert early >= times // 3  # the rest came too late
    nursery.run("evaluate", out, **JUDGED)
    found, want = tables(out), tables(calm.out)
    assert sorted(found) == sorted(want)
    assert [n for n in want if found[n] != want[n]] == []
    assert len(leftovers(out)) <= early


def test_evaluation_killed_three_times(nursery, calm, tmp_path):
    check_evaluation(nursery, tmp_path / "run", calm, 3, seed=1)


@pytest.mark.slow
def test_evaluation_killed_twenty_times(nursery, calm, tmp_path):
    check_evaluation(nursery, tmp_path / "run", calm, 20, seed=2)


def test_the_run_compared_with_holds_what_a_run_holds(calm):
    names = set(tables(calm.out))
    assert {"ledger.parquet", "cells.parquet", "answers.csv", "responses/m.jsonl"} <= names
    assert any(n.startswith("tables/") and n.endswith(".csv") for n in names)
    assert pd.read_parquet(calm.out / "ledger.parquet")["task"].nunique() > 8
