"""Let a model answer what is not answered yet, in this process or in several.

Every stored line has a key, a hash of all that the answer depends on (models/base.py): so an answer
is made once only, whatever is killed, repeated or run side by side.

On a CPU, processes of one thread each beat one process with as many threads; on GPUs there is one
process each. They do not talk to each other: shares go by key, and the store takes many writers.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from trustllm_repro.errors import ReproError
from trustllm_repro.evaluation.plan import (
    Asked,
    Choice,
    Plan,
    Settings,
    choices,
    in_share,
    make_plan,
)
from trustllm_repro.models.base import Completion, Finish, LanguageModel, Request
from trustllm_repro.progress import Progress, duration
from trustllm_repro.store.append import JsonLines

BATCH = 32  # scores of options stored at a time
SAMPLE = 200  # prompts counted in tokens for the estimate; the rest is taken to be alike
READ = 256  # tokens of the pass that times reading


def file_name(model: str) -> str:
    """The model's name as a file name: no separators, nothing hidden."""
    kept = "".join(c if c.isalnum() or c in "-_.@" else "-" for c in model)
    return kept.lstrip(".") or "model"


class ResponseStore:
    """The answers of one model: `responses/<model>.jsonl`, a line an answer."""

    def __init__(self, run: Path, model: str) -> None:
        self.lines = JsonLines(run / "responses" / f"{file_name(model)}.jsonl")

    def load(self) -> dict[str, Completion]:
        """Completions by key. The first line of a key counts; failed calls are asked again."""
        found: dict[str, Completion] = {}
        for line in self.lines.read():
            completion = _completion(line)
            if completion is not None and completion.finish is not Finish.ERROR:
                found.setdefault(line["key"], completion)
        return found

    def add(self, made: Iterable[tuple[Asked, Completion]]) -> None:
        self.lines.append(
            {"task": a.task, "number": a.number, "sample": a.sample, "key": a.key, **asdict(done)}
            for a, done in made
        )


def _completion(line: dict[str, Any]) -> Completion | None:
    """None for a line that was not written by `add` (altered by hand, or of another tool)."""
    try:
        if not isinstance(line["key"], str) or not isinstance(line["text"], str | None):
            return None
        counts = (int(line[name]) for name in ("prompt_tokens", "new_tokens", "cut_tokens"))
        return Completion(line["text"], Finish(line["finish"]), *counts)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


class LikelihoodStore:
    """Nats per option: `likelihoods/<model>.jsonl`, a line a question."""

    def __init__(self, run: Path, model: str) -> None:
        self.lines = JsonLines(run / "likelihoods" / f"{file_name(model)}.jsonl")

    def load(self) -> dict[str, list[float]]:
        """Scores by key; lines of another form are skipped."""
        found: dict[str, list[float]] = {}
        for line in self.lines.read():
            key, nats = line.get("key"), line.get("nats")
            if isinstance(key, str) and isinstance(nats, list):
                found.setdefault(key, [math.nan if v is None else float(v) for v in nats])
        return found

    def add(self, scored: Sequence[tuple[Choice, Sequence[float]]]) -> None:
        self.lines.append(
            {"task": c.task, "number": c.number, "key": c.key,
             "nats": [round(v, 4) if math.isfinite(v) else None for v in nats]}
            for c, nats in scored
        )  # fmt: skip


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
    """Make the missing answers of this part, (worker, workers); store each batch as it ends."""
    start, cost = time.perf_counter(), GenerationCost()
    todo = [asked for asked in plan.missing(store.load()) if in_share(asked.key, *part)]
    cost.show(progress, len(todo))
    for batch in model.complete([asked.request for asked in todo]):
        store.add((todo[at], completion) for at, completion in batch)
        cost.add([completion for _, completion in batch], time.perf_counter() - start)
        cost.show(progress, len(todo))
    return cost


def score(
    model: LanguageModel,
    wanted: Sequence[Choice],
    store: LikelihoodStore,
    part: tuple[int, int] = (0, 1),
    progress: Progress = Progress(),
) -> int:
    """Score the options of this part that have no log-probabilities yet; returns how many.

    Raises SettingsError: the model offers none.
    """
    have = store.load()
    todo = {c.key: c for c in wanted if c.key not in have and in_share(c.key, *part)}
    left, done = list(todo.values()), 0
    if not left:
        return 0
    scored = model.score_options([c.prompt for c in left], [c.options for c in left])
    while some := [(left[i], nats) for i, nats in islice(scored, BATCH)]:
        store.add(some)
        done += len(some)
        progress.step("options", done, len(left))
    return len(left)


def launch(
    arguments: dict[str, Any],
    plan: Plan,
    store: ResponseStore,
    devices: Sequence[str],
    progress: Progress = Progress(),
) -> GenerationCost:
    """Start a worker for each of `devices` and wait; progress is what arrives in the store.

    `arguments` are those of `work`, as JSON takes them. Raises ReproError: a worker failed. What it
    had stored stays; a second run goes on from there.
    """
    start, cost = time.perf_counter(), GenerationCost()
    left = {asked.key for asked in plan.missing(store.load())}
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
    settings: dict[str, Any], share: tuple[int, int],
) -> None:  # fmt: skip
    """A worker's share, (worker, workers). `model`: arguments of LocalModel beside the folder."""
    from trustllm_repro.data.benchmark import open_benchmark
    from trustllm_repro.models.local import LocalModel

    asked = Settings(**settings)
    found = LocalModel(
        Path(folder), device=device, system=asked.system, sampling=asked.sampling, **model
    )
    plan = make_plan(found, open_benchmark(benchmark, verify=verify), asked)
    generate(found, plan, ResponseStore(Path(out), found.name), part=share)
    if asked.likelihood:
        score(found, choices(found, plan), LikelihoodStore(Path(out), found.name), share)


def estimate(model: Any, requests: Sequence[Request], workers: int) -> str:
    """Work to do, prefixes counted with every prompt; and, unless an endpoint does it, the time."""
    sample = requests[:: max(1, len(requests) // SAMPLE)]
    count = getattr(model, "tokens", None)
    lengths = [len(count(r.prompt)) if count else len(r.prompt) // 4 for r in sample]
    to_read = round(sum(lengths) / max(1, len(lengths)) * len(requests))
    to_write = sum(r.max_new_tokens for r in requests)
    said = (
        f"{len(requests):,} answers to make: about {to_read:,} tokens to read and at most "
        f"{to_write:,} to write"
    )
    if not count or not requests:
        return said
    reading, writing = _pace(model)
    return f"{said}; at most {duration((to_read * reading + to_write * writing) / workers)}"


def _pace(model: Any) -> tuple[float, float]:
    """Seconds to read and to write a token, by one process of one thread (or one GPU)."""
    import torch

    threads, rows = torch.get_num_threads(), model.batch_size
    try:
        if model.device.type == "cpu":
            torch.set_num_threads(1)
        return _seconds(model, 1, READ) / READ, _seconds(model, rows, 1) / rows
    finally:
        torch.set_num_threads(threads)


def _seconds(model: Any, rows: int, columns: int) -> float:
    """Of a forward pass, the better of two after one to warm up."""
    import torch

    ids = torch.zeros((rows, columns), dtype=torch.long, device=model.device)
    times = []
    with torch.inference_mode():
        for _ in range(3):
            start = time.perf_counter()
            model.model(input_ids=ids, logits_to_keep=1).logits.float().sum().item()
            times.append(time.perf_counter() - start)
    return min(times[1:])


if __name__ == "__main__":
    work(**json.loads(sys.argv[1]))
