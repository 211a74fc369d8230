"""A whole evaluation over HTTP: whatever the server does, the tables are those of a calm run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("openai")
pytest.importorskip("psutil")

from tests.faults.nursery import Nursery, wait_until
from tests.faults.test_live_judging import tables
from tests.models.server import Desk, serving
from tests.tiny import tiny_model
from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.evaluation.generate import EvaluationConfig, ResponseStore, Settings
from trustllm_repro.evaluation.run import evaluate
from trustllm_repro.models.base import Finish
from trustllm_repro.models.endpoint import CONCURRENCY
from trustllm_repro.progress import Progress

ASKED = {"dimensions": ("ethics",), "limit": 6, "max_new_tokens": 6, "likelihood": False}
MENDED = ("429 0.01", "garbage", "truncated", "no choices", "drop", "503")  # by another try


@pytest.fixture(scope="module")
def desk_and_spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, str]]:
    folder = tiny_model(tmp_path_factory.mktemp("models") / "m", context=4096)
    with serving(folder) as (address, desk):
        yield desk, f"{address}?api=chat#m"


def evaluated(spec: str, out: Path) -> None:
    evaluate(EvaluationConfig(spec, "miniature", out, Settings(**ASKED)), progress=Progress())


@pytest.fixture(scope="module")
def calm(desk_and_spec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calm") / "run"
    evaluated(desk_and_spec[1], out)
    return out


@pytest.fixture
def desk(desk_and_spec, calm) -> Iterator[Desk]:
    """The server's side, with no faults left from one test to the next."""
    desk = desk_and_spec[0]
    desk.calls.clear()
    yield desk
    desk.faults.clear()
    desk.key = ""


@pytest.fixture
def spec(desk_and_spec) -> str:
    return desk_and_spec[1]


def keys(out: Path) -> list[str]:
    """Of all answers; failed calls leave lines too, which are no answers."""
    lines = ResponseStore(out, "m").lines.read()
    return [line["key"] for line in lines if line["finish"] != Finish.ERROR]


def same(out: Path, calm: Path) -> None:
    found, want = tables(out), tables(calm)
    assert sorted(found) == sorted(want)
    assert [n for n in want if found[n] != want[n] and not n.startswith("responses/m.j")] == []
    assert ResponseStore(out, "m").load() == ResponseStore(calm, "m").load()
    assert len(keys(out)) == len(set(keys(out)))


def test_faults_that_pass_leave_no_trace(desk, spec, calm, tmp_path):
    faults = [*MENDED, *[None] * 20]
    random.Random(1).shuffle(faults)
    desk.faults = list(faults)
    evaluated(spec, tmp_path / "run")
    assert len(desk.calls) == len(keys(calm)) + len(MENDED)
    same(tmp_path / "run", calm)


def test_rows_that_failed_count_as_missing_until_the_next_run_mends_them(
    desk, spec, calm, tmp_path
):
    out = tmp_path / "run"
    desk.faults = [None, None, "400", None, "400", "400"]
    evaluated(spec, out)
    assert pd.read_csv(out / "answers.csv")["missing"].sum() == 3
    assert len(keys(out)) == len(keys(calm)) - 3
    desk.calls.clear()
    evaluated(spec, out)
    assert len(desk.calls) == 3
    same(out, calm)
    desk.calls.clear()
    evaluated(spec, out)
    assert desk.calls == []


def test_a_key_that_expires_on_the_way_keeps_what_was_answered(desk, spec, calm, tmp_path):
    out = tmp_path / "run"
    desk.faults = [*[None] * 20, *["401"] * 100]
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        evaluated(spec, out)
    assert 20 - CONCURRENCY <= len(keys(out)) <= 20
    desk.faults.clear()
    evaluated(spec, out)
    same(out, calm)


def test_a_server_that_is_gone_is_said_and_harms_nothing(desk, spec, calm, tmp_path):
    gone = "http://127.0.0.1:9/v1#m"
    before = tables(calm)
    with pytest.raises(SourceMissing, match="no answer"):
        evaluated(gone, tmp_path / "run")
    assert keys(tmp_path / "run") == []
    assert tables(calm) == before


@pytest.mark.slow
def test_evaluation_over_http_killed_three_times(desk, spec, calm, tmp_path):
    """A kill costs at most the calls in flight."""
    out, kills = tmp_path / "run", 3
    nursery = Nursery(spec)
    try:
        for kill in range(kills):
            child = nursery.start("evaluate", out, **ASKED)
            goal = (kill + 1) * len(keys(calm)) // (kills + 1)
            wait_until(lambda: len(keys(out)) >= goal)  # noqa: B023
            assert nursery.kill(child)
        nursery.run("evaluate", out, **ASKED)
    finally:
        nursery.close()
    same(out, calm)
    assert len(keys(calm)) <= len(desk.calls) <= len(keys(calm)) + kills * CONCURRENCY
