"""Several processes, one run folder: every worker makes its share of the answers.

`accelerate launch` starts them: one per GPU, on several machines too, or one-thread CPU processes
(which beat one process with as many threads; accelerate starts only one of those at a time, so it
is called once for each). They need not talk to each other, since shares go by key (live.generate)
and the store takes several writers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trustllm_repro.errors import ReproError
from trustllm_repro.evaluation.generate import Generated, Progress, generate
from trustllm_repro.evaluation.likelihood import LikelihoodStore, choices, score
from trustllm_repro.evaluation.plan import Plan, Settings, make_plan
from trustllm_repro.evaluation.responses import ResponseStore

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
    tail = _Tail(store.lines.path, {a.key for a in plan.asked})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        started = [
            _start(stack, command, Path(folder) / f"log{k}", on_cpu)
            for k, command in enumerate(_commands(path, workers, on_cpu))
        ]
        while any(process.poll() is None for process, _ in started):
            progress(*tail.look(todo))
            time.sleep(POLL_SECONDS)
        progress(*tail.look(todo))
        for process, log in started:
            if process.returncode:
                raise ReproError(
                    f"a worker stopped with exit code {process.returncode}: "
                    f"{log.read_text(errors='replace').strip()[-600:]}",
                    remedy="run the same command again; finished answers are kept (--workers 1 if "
                    "memory was short)",
                )
    # Workers score options after their answers; that is no part of what generation cost.
    return Generated(tail.answers, tail.read_tokens, tail.tokens, max(0.0, tail.last - start))


def _start(
    stack: ExitStack, command: Sequence[str], log: Path, on_cpu: bool
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a process that ends with this one, whatever happens here."""
    file = stack.enter_context(open(log, "wb"))  # noqa: SIM115
    process = stack.enter_context(
        subprocess.Popen(command, stdout=file, stderr=file, env=_environment(on_cpu))
    )
    stack.callback(process.terminate)
    return process, log


def _commands(job: Path, workers: int, on_cpu: bool) -> list[list[str]]:
    launcher = [
        sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no",
    ]  # fmt: skip
    work = ["-m", "trustllm_repro.evaluation.workers", str(job)]
    if not on_cpu:
        port = ["--main_process_port", "0"]
        return [[*launcher, "--multi_gpu", "--num_processes", str(workers), *port, *work]]
    cpu = ["--cpu", "--num_processes", "1", "--num_cpu_threads_per_process", "1"]
    return [[*launcher, *cpu, *work, str(k), str(workers)] for k in range(workers)]


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


def work(job: dict[str, Any], part: tuple[int, int] | None = None) -> None:
    """One worker's share. Also what `accelerate launch -m trustllm_repro.evaluation.workers` runs.

    Args:
        part: (worker, workers); as accelerate numbers the processes if not given.
    """
    from accelerate import PartialState

    from trustllm_repro.data.benchmark import open_benchmark
    from trustllm_repro.models.local import LocalModel

    state = PartialState(cpu=job["on_cpu"])
    device = "cpu" if job["on_cpu"] else str(state.device)
    settings = Settings(**{**job["settings"], "dimensions": tuple(job["settings"]["dimensions"])})
    model = LocalModel(
        Path(job["folder"]), job["name"], job["dtype"], device, job["batch_size"], job["stock"],
        settings.system, settings.sampling, job["digest"],
    )  # fmt: skip
    benchmark = open_benchmark(job["benchmark"], verify=job["verify"])
    plan = make_plan(model, benchmark, settings).share(tuple(job.get("part", (0, 1))))
    store = ResponseStore(Path(job["out"]), model.name)
    part = part or (state.process_index, state.num_processes)
    generate(model, plan, store, part=part)
    if settings.likelihood:
        score(model, choices(model, plan), LikelihoodStore(Path(job["out"]), model.name), part)


def job_of(settings: Settings, **more: Any) -> dict[str, Any]:
    """A worker's arguments, ready for JSON."""
    return {**more, "settings": asdict(settings)}


if __name__ == "__main__":
    share = (int(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 3 else None
    work(json.loads(Path(sys.argv[1]).read_text()), share)
