"""Let a model answer what is not answered yet, in this process or in several.

On a CPU, processes of one thread each beat one process with as many threads; on GPUs there is one
process each. They do not talk to each other: shares go by key, and the store takes many writers.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustllm_repro.errors import ReproError
from trustllm_repro.evaluation.likelihood import LikelihoodStore, choices, score
from trustllm_repro.evaluation.plan import Plan, Settings, in_share, make_plan
from trustllm_repro.evaluation.responses import ResponseStore
from trustllm_repro.models.base import Completion, LanguageModel
from trustllm_repro.progress import Progress


@dataclass
class GenerationCost:
    """What generation cost: answers, tokens read and made, seconds."""

    answers: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: float = 0.0

    def add(self, done: Sequence[Completion], seconds: float) -> None:
        """Count more answers; `seconds` since the start."""
        self.answers += len(done)
        self.prompt_tokens += sum(c.prompt_tokens for c in done)
        self.new_tokens += sum(c.new_tokens for c in done)
        self.seconds = seconds

    def show(self, progress: Progress, total: int) -> None:
        rate = self.new_tokens / (self.seconds + 1e-9)
        more = f"{self.new_tokens:,} new tokens, {rate:.0f}/s"
        progress.step("answering", self.answers, total, more)


def generate(
    model: LanguageModel,
    plan: Plan,
    store: ResponseStore,
    progress: Progress = Progress(),
    part: tuple[int, int] = (0, 1),
) -> GenerationCost:
    """Make all missing answers and store each batch as it ends.

    Args:
        part: (worker, workers): this process makes only its share of the missing answers.
    """
    start, cost = time.perf_counter(), GenerationCost()
    todo = [i for i in plan.missing(store.load()) if in_share(plan.asked[i].key, *part)]
    cost.show(progress, len(todo))
    for batch in model.complete([plan.requests[i] for i in todo]):
        store.add((plan.asked[todo[at]], completion) for at, completion in batch)
        cost.add([completion for _, completion in batch], time.perf_counter() - start)
        cost.show(progress, len(todo))
    return cost


def launch(
    arguments: dict[str, Any],
    plan: Plan,
    store: ResponseStore,
    devices: Sequence[str],
    progress: Progress = Progress(),
) -> GenerationCost:
    """Start a worker for each of `devices` and wait; progress is what arrives in the store.

    Args:
        arguments: of `work`, as JSON takes them.

    Raises:
        ReproError: a worker failed. What it had stored stays; a second run goes on from there.
    """
    start, cost = time.perf_counter(), GenerationCost()
    left = {plan.asked[i].key for i in plan.missing(store.load())}
    total = len(left)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        logs = [Path(folder) / str(k) for k in range(len(devices))]
        started = []
        for k, device in enumerate(devices):
            started.append(_start(arguments, device, (k, len(devices)), logs[k]))
            stack.enter_context(started[-1])
            stack.callback(started[-1].terminate)  # it ends with this process
        running = True
        while running:
            looked = time.perf_counter()
            running = any(process.poll() is None for process in started)
            made = store.load()
            new = [made[k] for k in left & made.keys()]
            left -= made.keys()
            if new:  # what workers do after their answers is no part of what generation cost
                cost.add(new, time.perf_counter() - start)
            cost.show(progress, total)
            if running:  # a large store takes a while to read
                time.sleep(max(1.0, 20 * (time.perf_counter() - looked)))
        for process, log in zip(started, logs, strict=True):
            if process.returncode:
                said = log.read_text(errors="replace").strip()[-600:]
                raise ReproError(
                    f"a worker stopped with exit code {process.returncode}: {said}",
                    remedy="run the same command again; finished answers are kept (--workers 1 if "
                    "memory was short)",
                )
    return cost


def _start(
    arguments: dict[str, Any], device: str, share: tuple[int, int], log: Path
) -> subprocess.Popen[bytes]:
    words = json.dumps({**arguments, "device": device, "share": share})
    threads = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
    with open(log, "wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "trustllm_repro.evaluation.generate", words],
            stdout=file, stderr=file,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", **threads},
        )  # fmt: skip


def work(
    folder: str, model: dict[str, Any], device: str, benchmark: str, verify: bool, out: str,
    settings: dict[str, Any], part: tuple[int, int], share: tuple[int, int],
) -> None:  # fmt: skip
    """One worker's share.

    Args:
        folder: of the model; model: further arguments of LocalModel.
        part: this machine's number, and how many there are. share: (worker, workers) on it.
    """
    from trustllm_repro.data.benchmark import open_benchmark
    from trustllm_repro.models.local import LocalModel

    asked = Settings(**settings)
    found = LocalModel(
        Path(folder), device=device, system=asked.system, sampling=asked.sampling, **model
    )
    plan = make_plan(found, open_benchmark(benchmark, verify=verify), asked).share(part)
    generate(found, plan, ResponseStore(Path(out), found.name), part=share)
    if asked.likelihood:
        score(found, choices(found, plan), LikelihoodStore(Path(out), found.name), share)


if __name__ == "__main__":
    work(**json.loads(sys.argv[1]))
