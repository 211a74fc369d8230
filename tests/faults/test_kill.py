"""kill -9 at any moment: every file with a final name is whole, and the next run is undisturbed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.faults.world import ROOT, World, facts, finished, leftovers
from trustllm_repro.scoring.results import load
from trustllm_repro.store.atomic import PARTIAL, write_bytes

REPLAYS = """
import sys
from trustllm_repro.scoring.run import replay_records
records, benchmark, out = sys.argv[1:]
print("ready", flush=True)
while True:
    replay_records(records, benchmark, out, verify=False)
"""
WRITES = """
import sys
from trustllm_repro.store.atomic import write_bytes
print("ready", flush=True)
while True:
    for letter in b"abc":
        write_bytes(sys.argv[1], bytes([letter]) * 2_000_000)
"""


class Victim:
    """A process that works in a loop until it is killed."""

    def __init__(self, code: str, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill_after(self, seconds: float) -> None:
        time.sleep(seconds)
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL
        self.process.stdout.close()


def check_whole(path: Path) -> None:
    """Read a file of a run folder as whoever uses it would."""
    if path.suffix == ".parquet":
        assert len(pd.read_parquet(path).columns)
    elif path.suffix == ".json":
        assert json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".csv":
        text = path.read_text(encoding="utf-8")
        assert text.splitlines()[0].count(",") >= 9
        assert text.endswith("\n")
        assert len(pd.read_csv(path)) == text.count("\n") - 1
    else:
        assert path.suffix == ".tex"
        assert path.read_text(encoding="utf-8").startswith("%")
        assert path.read_bytes().endswith(b"\n")


def killed_often(world: World, out: Path, times: int, seed: int) -> int:
    """Kill replays into one folder at random moments; returns the temporary files left behind.

    A replay of the small world takes about half a second, a quarter of it for writing.
    """
    rng = random.Random(seed)
    for _ in range(times):
        victim = Victim(REPLAYS, world.records, world.benchmark, out)
        victim.kill_after(rng.uniform(0.2, 1.3))
        for name in finished(out):
            check_whole(out / name)
    return len(leftovers(out))


def same_as_undisturbed(world: World, out: Path, calm: Path) -> None:
    """What an undisturbed run makes in the folder of a killed one is what it makes elsewhere."""
    for folder in (out, calm):
        world.replay(folder)
    after, expected = facts(finished(out)), facts(finished(calm))
    assert after == expected
    assert load(out) == load(calm)


def test_a_replay_killed_three_times(world, tmp_path):
    killed_often(world, tmp_path / "out", 3, seed=1)
    same_as_undisturbed(world, tmp_path / "out", tmp_path / "calm")


@pytest.mark.slow
def test_a_replay_killed_twenty_times(world, tmp_path):
    left = killed_often(world, tmp_path / "out", 20, seed=2)
    same_as_undisturbed(world, tmp_path / "out", tmp_path / "calm")
    assert left <= 20
    assert len(leftovers(tmp_path / "out")) == left


def test_a_file_written_in_a_loop_and_killed_forty_times(tmp_path):
    target, rng = tmp_path / "file.bin", random.Random(3)
    whole = {bytes([letter]) * 2_000_000 for letter in b"abc"}
    write_bytes(target, b"a" * 2_000_000)
    for _ in range(40):
        victim = Victim(WRITES, target)
        victim.kill_after(rng.uniform(0.0, 0.03))
        assert target.read_bytes() in whole
    # One file a kill at the most; and the moments were such that some kills hit a write.
    assert 0 < len(leftovers(tmp_path)) <= 40
    write_bytes(target, b"calm")
    assert finished(tmp_path) == {"file.bin": b"calm"}


@pytest.mark.parametrize("content", [b"", b"{", b'{"old": {"value": 1, "text": "1", "cells": []}}'])
def test_what_a_kill_leaves_is_never_taken_for_a_result(world, earlier, content):
    """The names are those of the helper: hidden, with the suffix of unfinished files."""
    before = facts(finished(earlier))
    for name in (
        "results/.cells.json-ab12",
        ".stages/.00_provenance.json-ab12",
        ".verify.csv-ab12",
    ):
        path = earlier / f"{name}{PARTIAL}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    world.replay(earlier)
    assert "old" not in load(earlier)
    assert facts(finished(earlier)) == before
    assert len(leftovers(earlier)) == 3


def test_the_helper_names_its_temporary_files_so(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: seen.append(path.name))
    write_bytes(tmp_path / "results.json", b"{}")
    assert [n.startswith(".results.json-") and n.endswith(PARTIAL) for n in seen] == [True]
    assert not leftovers(tmp_path)
