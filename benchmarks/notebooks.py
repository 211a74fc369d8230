"""How long `reproduce` takes, and when its page shows the first numbers.

    python -m benchmarks.notebooks [--profile ledger] [--against OTHER_CHECKOUT]

writes data/measurements/notebooks.json: whole runs into fresh folders; with another checkout, an
earlier state of this project for instance, the two in turn and their ratios. Needs Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tools import exit_code
from trustllm_repro.paths import data_dir, project_root
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans of a run are waited for here, so their time counts


def timed(checkout: Path, profile: str) -> dict[str, Any]:
    """Seconds of one run: wall, cpu (all processes), first_numbers (wall), stages (wall of each)."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    before, start = os.times(), time.perf_counter()
    first = 0.0
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["reproduce", "--profile", profile, "--out", str(run)]
        process = subprocess.Popen(
            [sys.executable, "-m", "trustllm_repro.cli", *words], stdout=subprocess.DEVNULL,
            cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)},
        )  # fmt: skip
        while process.poll() is None:
            page = run / "index.html"
            if not first and page.exists() and "are reproduced" in page.read_text("utf-8"):
                first = time.perf_counter() - start
            time.sleep(0.05)
        wall = time.perf_counter() - start
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        stages = json.loads((run / "provenance.json").read_text("utf-8"))["stage_seconds"]
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    return {"wall": wall, "cpu": cpu, "first_numbers": first, "stages": stages}


def measure(
    profile: str, repeats: int, against: Path | None = None, note: str = ""
) -> dict[str, Any]:
    """Medians over runs, and ratios this / other of runs in turn."""
    checkouts = {"this": project_root(), **({"other": against.resolve()} if against else {})}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
    for _ in range(repeats):
        for name, checkout in checkouts.items():
            runs[name].append(timed(checkout, profile))
    machine = provenance({}, {})
    return {
        "what": "reproduce into a fresh folder; seconds: wall, cpu of all processes, wall until "
        "index.html shows the verdict counts, wall of each notebook; medians",
        "note": note,
        "profile": profile,
        "repeats": repeats,
        "seconds": {name: _medians(found) for name, found in runs.items()},
        "ratios": {
            kind: [round(a[kind] / b[kind], 2) for a, b in zip(*runs.values(), strict=True)]
            for kind in ("wall", "cpu", "first_numbers")
            if against
        },
        "commits": {name: _commit(checkout) for name, checkout in checkouts.items()},
        "machine": {k: machine[k] for k in ("cpu", "threads", "os", "python")},
    }


def _commit(checkout: Path) -> str:
    words = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        k: {n: _median([r[k][n] for r in runs]) for n in v} if isinstance(v, dict)
        else _median([r[k] for r in runs])
        for k, v in runs[0].items()
    }  # fmt: skip


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 1)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--profile", default="ledger")
    parser.add_argument("--against", type=Path, help="another checkout of this project")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--note", default="", help="what else ran on the machine, for instance")
    parser.add_argument("--out", type=Path, default=data_dir() / "measurements" / "notebooks.json")
    given = parser.parse_args(words)
    facts = measure(given.profile, given.repeats, given.against, given.note)
    write_json(given.out, facts)
    print(json.dumps({k: facts[k] for k in ("seconds", "ratios")}, indent=1))


if __name__ == "__main__":
    sys.exit(exit_code(main))
