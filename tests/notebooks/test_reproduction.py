"""The whole way: all notebooks of the smoke profile, and the same bytes from the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.faults.world import World, facts, leftovers, snapshot
from tests.notebooks.project import Project
from trustllm_repro.paths import project_root
from trustllm_repro.scoring.cells import committed_ledger

NOTEBOOKS = sorted(p.stem for p in (project_root() / "notebooks").glob("*.ipynb"))
KINDS = (".pdf", ".svg", ".png", ".csv")
FIGURES = {"verification", "truthfulness", "safety", "fairness", "robustness", "privacy", "ethics",
           "rank_heatmap", "rank_intervals"}  # fmt: skip


@pytest.mark.slow
def test_the_smoke_profile(tmp_path):
    """All notebooks, then nothing to do."""
    project = Project(tmp_path / "project").with_package(real_notebooks=True)
    done = project.reproduce(profile="smoke")
    assert done.returncode == 0, done.stderr
    assert f"{len(NOTEBOOKS)} notebooks in" in done.stdout
    run = project.root / "runs" / "smoke"
    assert not leftovers(run)
    private = [str(p) for p in (tmp_path, project_root(), Path(sys.prefix), Path.home() / "x")]
    private[-1] = private[-1].removesuffix("x")
    for name in NOTEBOOKS:
        book = nbformat.read(run / "notebooks" / f"{name}.ipynb", as_version=4)
        outputs = [o for c in book.cells if c.cell_type == "code" for o in c.outputs]
        assert outputs
        # What a cell prints is shown; a warning or an error is not.
        assert {o.output_type for o in outputs} <= {"execute_result", "display_data", "stream"}, name
        assert not [o for o in outputs if o.get("name") == "stderr"], name
        page = (run / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        assert "<script>alert" not in page
        assert [p for p in private if p in page] == [], name
        assert "<table" in page, name
    names = {p.stem for p in (run / "figures").glob("*.png")}
    assert names >= FIGURES
    for name in names:
        for kind in KINDS:
            assert (run / "figures" / f"{name}{kind}").stat().st_size > 100
    before = snapshot(run)
    again = project.reproduce(profile="smoke")
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stdout
    assert snapshot(run) == before


REPLAY = """
import sys
import trustllm_repro as tr
from trustllm_repro.analysis.compare import verdict_counts
from trustllm_repro.scoring.run import replay_ledger, replay_records
out, *sources = sys.argv[1:]
run = replay_records(*sources, out, verify=False)[0] if len(sources) > 1 else (
    replay_ledger(out, *sources))
counts = verdict_counts(run)
tr.save(counts.plot.barh(stacked=True).figure, run, "verification", data=counts)
for dimension in ("safety", "ethics"):
    board = tr.compare(run, f"leaderboard_{dimension}")
    tr.save(tr.plot.dots(board), run, dimension, data=board)
"""


def replayed_twice(folder: Path, *sources: Path) -> list[dict[str, bytes]]:
    """The same replay in two processes that differ in what must not matter."""
    processes = []
    for name, seed, zone, language in (
        ("a", "0", "UTC", "C"),
        ("b", "4242", "Asia/Tokyo", "C.UTF-8"),
    ):
        (folder / name / "here").mkdir(parents=True)
        env = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": language,
                            "PYTHONPATH": str(project_root())}  # fmt: skip
        words = [sys.executable, "-c", REPLAY, folder / name / "run", *sources]
        processes.append(subprocess.Popen(words, cwd=folder / name / "here", env=env))
    assert [p.wait() for p in processes] == [0, 0]
    return [facts(snapshot(folder / name / "run")) for name in "ab"]


def compare(first: dict[str, bytes], second: dict[str, bytes]) -> None:
    assert {"verify.csv", "ledger.parquet", "items.parquet", "cells.parquet", "results.json",
            "tables/safety_misuse.csv", "tables/safety_misuse.tex", "figures/verification.pdf",
            "figures/safety.svg", "figures/ethics.png"} <= first.keys()  # fmt: skip
    assert first.keys() == second.keys()
    assert [n for n in first if first[n] != second[n]] == []


@pytest.mark.slow
def test_the_same_answers_give_the_same_bytes(tmp_path):
    world = World(tmp_path / "world")
    compare(*replayed_twice(tmp_path, world.records, world.benchmark))


@pytest.mark.slow
def test_the_committed_ledger_gives_the_same_bytes(tmp_path):
    first, second = replayed_twice(tmp_path, committed_ledger())
    compare(first, second)
    for name in ("ledger.parquet", "items.parquet"):
        assert first[name] == (committed_ledger() / name).read_bytes()
