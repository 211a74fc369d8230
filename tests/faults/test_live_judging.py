"""kill -9 while answers are made, judged, scored and written: the tables are those of a calm run."""

from __future__ import annotations

import json
import random
import shutil
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
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import JsonLines

JUDGED = {"dimensions": ["ethics", "safety"], "max_new_tokens": 6, "limit": 6}


@dataclass(frozen=True)
class Calm:
    """An unbroken evaluation: its folder, and the seconds it took."""

    out: Path
    seconds: float


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
    start = time.monotonic()
    nursery.run("evaluate", out, **JUDGED)
    return Calm(out, time.monotonic() - start)


APPENDED = ("responses/m.jsonl", "likelihoods/m.jsonl")


def tables(out: Path) -> dict[str, bytes]:
    """All files of a run; appended ones with their lines in order of content.

    sittings.jsonl tells the seconds of every sitting, so it differs as provenance.json does.
    """
    files = facts(finished(out))
    files.pop("sittings.jsonl", None)
    for name in APPENDED:
        if name in files:
            files[name] = "\n".join(sorted(lines(out / name))).encode()
    return files


def lines(path: Path) -> list[str]:
    """Whole lines; a kill may tear the last one, which then stands apart."""
    return [json.dumps(r, sort_keys=True) for r in JsonLines(path).read()]


def check_evaluation(nursery: Nursery, out: Path, calm: Calm, times: int, seed: int) -> None:
    """The second half of the kills hits a run whose answers are all there: judging and writing.

    Those answers are the calm run's, so the first half is looked at before they come.
    """
    rng, early = random.Random(seed), 0
    for kill in range(times):
        if kill == times // 2:
            for name in APPENDED:
                assert set(lines(out / name)) <= set(lines(calm.out / name))
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(calm.out / name, out / name)
        child = nursery.start("evaluate", out, **JUDGED)
        time.sleep(rng.uniform(0.05, 0.8) * calm.seconds)
        early += nursery.kill(child)
        for name in APPENDED:
            keys = [json.loads(x)["key"] for x in lines(out / name)]
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
