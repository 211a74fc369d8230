"""kill -9 while a real model answers, and four writers at once."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.faults.nursery import BATCH, MADE, Nursery, wait_until
from tests.tiny import tiny_model
from trustllm_repro.evaluation.generate import ResponseStore

ASKED = {"max_new_tokens": 10}


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    made = Nursery(tiny_model(tmp_path_factory.mktemp("models") / "m", context=4096))
    yield made
    made.close()


@pytest.fixture(scope="module")
def calm(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an unbroken generation."""
    out = tmp_path_factory.mktemp("calm")
    nursery.run("generate", out, **ASKED)
    return out


def lines(out: Path) -> list[dict]:
    return list(ResponseStore(out, "m").lines.read())


def keys_made(out: Path) -> list[str]:
    path = out / MADE
    return path.read_text().split() if path.exists() else []


def stored_bytes(out: Path) -> int:
    path = ResponseStore(out, "m").lines.path
    return path.stat().st_size if path.exists() else 0


def killed_while_generating(nursery: Nursery, out: Path, times: int, seed: int, total: int) -> int:
    """Kill at random numbers of bytes stored, some of them in the middle of a step.

    Returns how many kills came before the end. After each, no answer is doubled, and no more
    than one batch of answers was made but not stored.
    """
    rng, early = random.Random(seed), 0
    for kill in range(times):
        child = nursery.start("generate", out, **ASKED)
        goal = total * (kill + rng.random()) / times  # so that kills are spread over the run
        ended = Path(f"/proc/{child}/stat")
        wait_until(lambda: stored_bytes(out) >= goal or ended.read_text().split()[2] == "Z")  # noqa: B023
        time.sleep(rng.choice([0, rng.uniform(0, 0.02)]))
        early += nursery.kill(child)
        stored = [r["key"] for r in lines(out)]
        assert len(stored) == len(set(stored))
        lost = Counter(keys_made(out)) - Counter(stored)
        assert sum(lost.values()) <= BATCH * (kill + 1)
    return early


def same_answers(out: Path, calm: Path) -> None:
    """Nothing lost, nothing doubled, nothing changed."""
    store, want = ResponseStore(out, "m"), ResponseStore(calm, "m")
    found = [json.dumps(r, sort_keys=True) for r in store.lines.read()]
    assert sorted(found) == sorted(json.dumps(r, sort_keys=True) for r in want.lines.read())
    assert store.load() == want.load()


def check_generation(nursery: Nursery, out: Path, calm: Path, times: int, seed: int) -> None:
    early = killed_while_generating(nursery, out, times, seed, stored_bytes(calm))
    assert early >= times - 1  # else the test would prove little
    nursery.run("generate", out, **ASKED)
    same_answers(out, calm)
    again = len(keys_made(out)) - len(lines(calm))
    assert 0 <= again <= BATCH * early
    before = stored_bytes(out)
    nursery.run("generate", out, **ASKED)  # all is there: the model is not asked
    assert stored_bytes(out) == before
    assert len(keys_made(out)) == again + len(lines(calm))


def test_generation_killed_three_times(nursery, calm, tmp_path):
    check_generation(nursery, tmp_path, calm, 3, seed=1)


@pytest.mark.slow
def test_generation_killed_twenty_times(nursery, calm, tmp_path):
    check_generation(nursery, tmp_path, calm, 20, seed=2)


def test_a_torn_last_line_is_asked_again_and_no_other(nursery, calm, tmp_path):
    path = ResponseStore(tmp_path, "m").lines.path
    path.parent.mkdir()
    whole = ResponseStore(calm, "m").lines.path.read_bytes()
    path.write_bytes(whole[:-40])
    nursery.run("generate", tmp_path, **ASKED)
    assert len(keys_made(tmp_path)) == 1
    store = ResponseStore(tmp_path, "m")
    assert store.load() == ResponseStore(calm, "m").load()
    assert len(path.read_bytes().splitlines()) == len(list(store.lines.read())) + 1


def test_four_writers_in_one_folder(nursery, calm, tmp_path):
    """They know nothing of each other, so they may make an answer twice, but then the same."""
    children = [nursery.start("generate", tmp_path, **ASKED) for _ in range(4)]
    assert [nursery.end(c) for c in children] == [0, 0, 0, 0]
    store = ResponseStore(tmp_path, "m")
    found = [json.dumps(r, sort_keys=True) for r in store.lines.read()]
    assert len(found) == len(store.lines.path.read_bytes().splitlines())
    assert set(found) == {json.dumps(r, sort_keys=True) for r in lines(calm)}
    assert store.load() == ResponseStore(calm, "m").load()


@pytest.mark.slow
def test_four_writers_one_of_them_killed(nursery, calm, tmp_path):
    children = [nursery.start("generate", tmp_path, **ASKED) for _ in range(4)]
    wait_until(lambda: stored_bytes(tmp_path) > stored_bytes(calm) / 3)
    nursery.kill(children[1])
    assert [nursery.end(c) for c in (children[0], *children[2:])] == [0, 0, 0]
    assert ResponseStore(tmp_path, "m").load() == ResponseStore(calm, "m").load()
