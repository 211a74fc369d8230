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
from trustllm_repro.store.atomic import JsonLines

BATCH = 32  # scores of options stored at a time
SAMPLE = 200  # prompts counted in tokens for the estimate; the rest is taken to be alike
READ = 256  # tokens of the pass that times reading


def file_name(model: str) -> str:
    """The model's name as a file name: no separators, nothing hidden."""
    kept = "".join(c if c.isalnum() or c in "-_.@" else "-" for c in model)
    return kept.lstrip(".") or "model"


class ResponseStore:
    """The answers of one model: `responses/<model>.jsonl`, a line an answer."""

    folder = "responses"

    def __init__(self, run: Path, model: str) -> None:
        self.lines = JsonLines(run / self.folder / f"{file_name(model)}.jsonl")

    def load(self) -> dict[str, Any]:
        """Completions by key: the first of a key counts, lines of another form are skipped."""
        found: dict[str, Any] = {}
        for line in self.lines.read():
            value = self._value(line)
            if value is not None and isinstance(line.get("key"), str):
                found.setdefault(line["key"], value)
        return found

    @staticmethod
    def _value(line: dict[str, Any]) -> Completion | None:
        """None also for a failed call, which is asked again."""
        try:
            counts = (int(line[name]) for name in ("prompt_tokens", "new_tokens", "cut_tokens"))
            found = Completion(line["text"], Finish(line["finish"]), *counts)
        except (KeyError, ValueError, TypeError, OverflowError):
            return None
        usable = isinstance(found.text, str | None) and found.finish is not Finish.ERROR
        return found if usable else None

    def add(self, made: Iterable[tuple[Asked, Completion]]) -> None:
        self.lines.append(
            {"task": a.task, "number": a.number, "sample": a.sample, "key": a.key, **asdict(done)}
            for a, done in made
        )


class LikelihoodStore(ResponseStore):
    """Nats per option: `likelihoods/<model>.jsonl`, a line a question."""

    folder = "likelihoods"

    @staticmethod
    def _value(line: dict[str, Any]) -> list[float] | None:
        nats = line.get("nats")
        if not isinstance(nats, list):
            return None
        return [math.nan if v is None else float(v) for v in nats]

    def add(self, scored: Iterable[tuple[Choice, Sequence[float]]]) -> None:
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
    """Start a worker for each of `devices`, with these `arguments` of `work`, and wait; progress is
    what arrives in the store. Raises ReproError: a worker failed; what it had stored stays."""
    start, cost = time.perf_counter(), GenerationCost()
    total = len(left := {asked.key for asked in plan.missing(store.load())})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        logs, started = [Path(folder) / str(k) for k in range(len(devices))], []
        for k, device in enumerate(devices):
            words = json.dumps({**arguments, "device": device, "share": (k, len(devices))})
            threads = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
            file = stack.enter_context(open(logs[k], "wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", "trustllm_repro.evaluation.generate", words],
                stdout=file, stderr=file,
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false", **threads},
            )  # fmt: skip
            started.append(stack.enter_context(process))
            stack.callback(process.terminate)  # it ends with this process
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


def work(
    folder: str, model: dict[str, Any], device: str, benchmark: str, verify: bool, out: str,
    settings: dict[str, Any], share: tuple[int, int],
) -> None:  # fmt: skip
    """A worker's share, (worker, workers). `model`: arguments of LocalModel beside the folder."""
    from trustllm_repro.data.benchmark import load_benchmark
    from trustllm_repro.models.local import LocalModel

    asked = Settings(**settings)
    found = LocalModel(
        Path(folder), device=device, system=asked.system, sampling=asked.sampling, **model
    )
    plan = make_plan(found, load_benchmark(benchmark, verify=verify), asked)
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

    def seconds(rows: int, columns: int) -> float:
        """Of a forward pass, the better of two after one to warm up."""
        ids = torch.zeros((rows, columns), dtype=torch.long, device=model.device)
        times = []
        with torch.inference_mode():
            for _ in range(3):
                start = time.perf_counter()
                model.model(input_ids=ids, logits_to_keep=1).logits.float().sum().item()
                times.append(time.perf_counter() - start)
        return min(times[1:])

    threads, rows = torch.get_num_threads(), model.batch_size
    try:
        if model.device.type == "cpu":
            torch.set_num_threads(1)
        return seconds(1, READ) / READ, seconds(rows, 1) / rows
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    work(**json.loads(sys.argv[1]))
