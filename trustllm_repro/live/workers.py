"""Several processes, one run folder: every worker makes its share of the answers.

`accelerate launch` starts them: one per GPU, several machines, or several one-thread CPU processes
(which beat one process with as many threads). They need not talk to each other, since shares go by
key (live.generate) and the store takes several writers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trustllm_repro.errors import ReproError
from trustllm_repro.live.generate import Generated, Progress, generate
from trustllm_repro.live.likelihood import LikelihoodStore, choices, score
from trustllm_repro.live.plan import Plan, Settings, make_plan
from trustllm_repro.store.responses import ResponseStore

POLL_SECONDS = 1.0


def launch(
    job: dict[str, Any],
    plan: Plan,
    store: ResponseStore,
    workers: int,
    on_cpu: bool,
    progress: Progress = lambda done, total, tokens: None,
) -> Generated:
    """Start workers and wait; progress is what arrives in the store.

    Args:
        job: arguments of `work`, as JSON.

    Raises:
        ReproError: a worker failed. What it had stored stays; a second run goes on from there.
    """
    start = time.perf_counter()
    todo = len(list(plan.missing(store.load())))
    wanted = {a.key for a in plan.asked}
    tail = _Tail(store.lines.path, wanted)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        log = open(Path(folder) / "log", "w+", encoding="utf-8")  # noqa: SIM115
        with (
            log,
            subprocess.Popen(
                _command(path, workers, on_cpu), stdout=log, stderr=log, env=_environment(on_cpu)
            ) as process,
        ):
            while process.poll() is None:
                progress(*tail.look(todo))
                time.sleep(POLL_SECONDS)
            log.seek(0)
            said = log.read()
    progress(*tail.look(todo))
    # Workers score options after their answers; that is no part of what generation cost.
    seconds = max(0.0, tail.last - start)
    if process.returncode:
        raise ReproError(
            f"a worker stopped with exit code {process.returncode}: {said.strip()[-600:]}",
            remedy="run the same command again; finished answers are kept (--workers 1 if memory "
            "was short)",
        )
    return Generated(tail.answers, tail.read_tokens, tail.tokens, seconds)


def _command(job: Path, workers: int, on_cpu: bool) -> Sequence[str]:
    device = ["--cpu", "--num_cpu_threads_per_process", "1"] if on_cpu else ["--multi_gpu"]
    return [
        sys.executable, "-m", "accelerate.commands.launch", *device,
        "--num_processes", str(workers), "--num_machines", "1", "--mixed_precision", "no",
        "--dynamo_backend", "no", "--main_process_port", "0",
        "-m", "trustllm_repro.live.workers", str(job),
    ]  # fmt: skip


def _environment(on_cpu: bool) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1"} if on_cpu else {}
    return {**os.environ, "TOKENIZERS_PARALLELISM": "false", **threads}


class _Tail:
    """Counts wanted answers as they are appended to the store."""

    def __init__(self, path: Path, wanted: set[str]) -> None:
        self.path, self.wanted = path, wanted
        self.at = path.stat().st_size if path.exists() else 0
        self.answers = self.tokens = self.read_tokens = 0
        self.last = 0.0  # when the last answer was seen

    def look(self, total: int) -> tuple[int, int, int]:
        if self.path.exists():
            with open(self.path, "rb") as f:
                f.seek(self.at)
                data = f.read()
            whole = data[: data.rfind(b"\n") + 1]
            self.at += len(whole)
            for line in whole.splitlines():
                self._count(line)
        return self.answers, total, self.tokens

    def _count(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            if row["key"] in self.wanted:
                self.last = time.perf_counter()
                self.answers += 1
                self.tokens += row["new_tokens"]
                self.read_tokens += row["prompt_tokens"]
        except (ValueError, KeyError, TypeError):
            return  # a torn line; the store counts it


def work(job: dict[str, Any]) -> None:
    """One worker's share. Also what `accelerate launch -m trustllm_repro.live.workers` runs."""
    from accelerate import PartialState

    from trustllm_repro.models.find import find_model
    from trustllm_repro.sources.benchmark import open_benchmark

    state = PartialState(cpu=job["on_cpu"])
    device = "cpu" if job["on_cpu"] else str(state.device)
    model = find_model(
        job["model"], dtype=job["dtype"], device=device, batch_size=job["batch_size"]
    )
    benchmark = open_benchmark(job["benchmark"], verify=job["verify"])
    settings = Settings(**{**job["settings"], "dimensions": tuple(job["settings"]["dimensions"])})
    plan = make_plan(model, benchmark, settings)
    store = ResponseStore(Path(job["out"]), model.name)
    part = (state.process_index, state.num_processes)
    generate(model, plan, store, part=part)
    if settings.likelihood:
        score(model, choices(model, plan), LikelihoodStore(Path(job["out"]), model.name), part)


def job_of(settings: Settings, **more: Any) -> dict[str, Any]:
    """A worker's arguments, ready for JSON."""
    return {**more, "settings": asdict(settings)}


if __name__ == "__main__":
    work(json.loads(Path(sys.argv[1]).read_text()))
