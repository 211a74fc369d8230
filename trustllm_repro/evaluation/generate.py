"""What a live run asks a model, and how it gets the answers, in this process or in several.

The key of an answer is a hash of all that the answer depends on (models/base.py). So each answer is
made once only, whatever is killed, repeated or run side by side. Shares go by key, and the store
takes many writers. On a CPU, processes of one thread each beat one
process with as many threads; on GPUs there is one process each.
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
from dataclasses import asdict, dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from timeit import Timer
from typing import Any

from trustllm_repro.data.benchmark import Benchmark, load_benchmark
from trustllm_repro.errors import ReproError, SettingsError
from trustllm_repro.models.base import (
    Completion,
    Finish,
    LanguageModel,
    Request,
    check_asking,
    content_key,
    item_seed,
    options_key,
)
from trustllm_repro.progress import Progress, duration
from trustllm_repro.schema import Item
from trustllm_repro.store.atomic import JsonLines
from trustllm_repro.tasks import DIMENSIONS, TASKS


@dataclass(frozen=True)
class Settings:
    """How a live run asks, by default as the official toolkit does; an endpoint has its own
    `system` and `sampling` (see models.base)."""

    dimensions: tuple[str, ...] = ()  # names of tasks.DIMENSIONS; empty means all
    limit: int | None = None  # about so many items a task, spread over its parts
    max_new_tokens: int = 512  # the paper's setting
    samples: int = 1  # answers per item where the task's temperature is above 0
    seed: int = 0  # base of all answers' seeds
    likelihood: bool = True  # also read classification tasks by the options' log-probabilities
    system: str = "blank"
    sampling: str = "model"

    def __post_init__(self) -> None:
        if unknown := [d for d in self.dimensions if d not in DIMENSIONS]:
            raise SettingsError(
                f"unknown dimension {unknown[0]!r}", remedy=f"one of: {', '.join(DIMENSIONS)}"
            )
        for name in ("limit", "max_new_tokens", "samples"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise SettingsError(
                    f"{name} must be at least 1", remedy="leave it out for the usual value"
                )
        check_asking(self.system, self.sampling)


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate, on what, how: the options of `evaluate --help`."""

    model: str | LanguageModel  # what a user names, or what find_model gave
    benchmark: str
    out: Path
    settings: Settings = field(default_factory=Settings)
    dtype: str = "float32"
    device: str = "auto"
    batch_size: int = 0
    workers: int = 0
    verify: bool = True
    judges: tuple[str, ...] = ()  # "judge=model": another judge instead of ours

    def __post_init__(self) -> None:
        if self.batch_size < 0 or self.workers < 0:
            raise SettingsError("batch size and workers cannot be negative")


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer that is wanted: to which item of which task, under which key."""

    task: str
    number: int
    sample: int
    key: str
    request: Request | None = None  # None where the answers are there already


@dataclass(frozen=True)
class Choice:
    """One item with options, and the key of their log-probabilities."""

    task: str
    number: int
    prompt: str
    options: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class Plan:
    """All that is asked: items by task, the answers wanted, and questions with options."""

    items: dict[str, list[Item]]
    asked: list[Asked]
    choices: list[Choice] = field(default_factory=list)


def make_plan(model: LanguageModel, benchmark: Benchmark, settings: Settings) -> Plan:
    """Items of all live tasks, and what the model is asked about them. Toxicity reads the answers
    to jailbreak prompts, which are asked for once."""
    plan = Plan({}, [])
    blank = " " if model.identity.get("template") == "none" else ""  # before a base model's options
    for task in TASKS.values():
        if not task.live or (settings.dimensions and task.dimension not in settings.dimensions):
            continue
        assert task.file is not None
        plan.items[task.id] = stratified(task.items(benchmark[task.file]), settings.limit)
        samples = settings.samples if task.temperature else 1
        for item in plan.items[task.id]:
            options = tuple(blank + o for o in task.options_of(item))
            if options and settings.likelihood:
                key = options_key(model.identity, item.prompt, options)
                plan.choices.append(Choice(task.id, item.number, item.prompt, options, key))
            for sample in range(0 if task.answers_of else samples):
                request = Request(
                    item.prompt,
                    settings.max_new_tokens,
                    float(task.temperature),
                    item_seed(settings.seed, task.id, item.number, sample),
                )
                key = content_key(model.identity, request, sample)
                plan.asked.append(Asked(task.id, item.number, sample, key, request))
    return plan


def stratified(items: Sequence[Item], limit: int | None) -> list[Item]:
    """About `limit` items of a task, taken in turn from every combination of facets that are no
    numbers. Items of one pair come together; at least one pair is taken. The choice depends on the
    items only, and a larger limit takes the smaller one's items and more."""
    if limit is None or limit >= len(items):
        return list(items)
    units: dict[int, list[Item]] = {}
    for item in items:
        units.setdefault(item.pair if item.pair >= 0 else -1 - item.number, []).append(item)
    parts: dict[tuple[str, ...], list[list[Item]]] = {}
    for unit in units.values():
        facets = unit[0].facets if len(unit) == 1 else (*unit[0].facets, *unit[-1].facets)
        parts.setdefault(tuple(f for f in facets if not f.isdigit()), []).append(unit)
    chosen: list[Item] = []
    for turn in zip_longest(*parts.values()):
        for unit in filter(None, turn):
            if not chosen or len(chosen) + len(unit) <= limit:
                chosen += unit
    return sorted(chosen, key=lambda i: i.number)


# --- answering

# A worker of its own pays from so many answers on; below, starting it takes longer.
WORTH_WORKERS = 64
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

    def missing(self, wanted: Iterable[Any], part: tuple[int, int] = (0, 1)) -> list[Any]:
        """What of `wanted` is not stored; equal keys count once. `part`: (worker, workers); a key
        belongs to the same part whatever is stored already."""
        (worker, workers), have = part, self.load()
        left: dict[str, Any] = {}
        for one in wanted:
            if one.key not in have and int(one.key[:8], 16) % workers == worker:
                left.setdefault(one.key, one)
        return list(left.values())

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
    todo = store.missing(plan.asked, part)
    cost.show(progress, len(todo))
    for batch in model.complete([asked.request for asked in todo]):
        store.add((todo[at], completion) for at, completion in batch)
        cost.add([completion for _, completion in batch], time.perf_counter() - start)
        cost.show(progress, len(todo))
    return cost


def score(
    model: LanguageModel,
    plan: Plan,
    store: LikelihoodStore,
    progress: Progress = Progress(),
    part: tuple[int, int] = (0, 1),
) -> int:
    """Score the options of this part that lack log-probabilities; returns how many. Raises
    SettingsError: the model offers none."""
    todo, done = store.missing(plan.choices, part), 0
    if not todo:
        return 0
    scored = model.score_options([c.prompt for c in todo], [c.options for c in todo])
    while some := [(todo[i], nats) for i, nats in islice(scored, BATCH)]:
        store.add(some)
        done += len(some)
        progress.step("options", done, len(todo))
    return done


def answer(
    config: EvaluationConfig, model: Any, plan: Plan, store: ResponseStore,
    scores: LikelihoodStore, progress: Progress,
) -> GenerationCost:  # fmt: skip
    """Have the plan's missing answers made, by several processes where that pays; these also score
    its choices."""
    left = [asked.request for asked in store.missing(plan.asked)]
    work = len(left) + len(scores.missing(plan.choices))
    devices = _devices(config.workers, model, work)
    if left:
        progress.note(estimate(model, left, len(devices)))
    if len(devices) == 1 or not work:
        return generate(model, plan, store, progress)
    facts = {
        "folder": str(model.folder),
        "model": {
            "name": model.name, "dtype": model.identity["dtype"], "batch_size": config.batch_size,
            "stock": model.stock, "digest": model.identity["weights"],
        },
        "benchmark": str(config.benchmark), "verify": config.verify, "out": str(config.out),
        "settings": asdict(config.settings),
    }  # fmt: skip
    return launch(facts, plan, store, devices, progress)


def _devices(workers: int, model: Any, work: int) -> list[str]:
    """The device of each process that works; a single one is this process. By default, if there is
    enough to do, a one-thread process on every core, as memory allows, or one per GPU."""
    folder = getattr(model, "folder", None)
    if folder is None:
        if workers > 1:
            raise SettingsError(
                f"several processes cannot ask {model.name}: each loads a model folder",
                remedy="leave out --workers",
            )
        return [""]
    import psutil
    import torch

    gpus = torch.cuda.device_count() if model.device.type == "cuda" else 0
    size = sum(p.stat().st_size for p in folder.glob("*.safetensors"))
    fitting = max(1, int(psutil.virtual_memory().available // (4 * size)))
    usual = gpus or min(len(os.sched_getaffinity(0)), fitting)
    workers = workers or (usual if work >= WORTH_WORKERS else 1)
    return [f"cuda:{k % gpus}" if gpus else "cpu" for k in range(workers)]


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
    total = len(left := {asked.key for asked in store.missing(plan.asked)})
    with ExitStack() as stack:
        logs, started = [stack.enter_context(tempfile.TemporaryFile()) for _ in devices], []
        for k, (device, log) in enumerate(zip(devices, logs, strict=True)):
            words = json.dumps({**arguments, "device": device, "share": (k, len(devices))})
            threads = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
            process = subprocess.Popen(
                [sys.executable, "-m", "trustllm_repro.evaluation.generate", words],
                stdout=log, stderr=log,
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
                log.seek(0)
                said = log.read().decode(errors="replace").strip()[-600:]
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
    from trustllm_repro.models.local import LocalModel

    asked = Settings(**settings)
    found = LocalModel(
        Path(folder), device=device, system=asked.system, sampling=asked.sampling, **model
    )
    plan = make_plan(found, load_benchmark(benchmark, verify=verify), asked)
    generate(found, plan, ResponseStore(Path(out), found.name), part=share)
    score(found, plan, LikelihoodStore(Path(out), found.name), part=share)


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
        with torch.inference_mode():
            one = Timer(lambda: model.model(input_ids=ids, logits_to_keep=1).logits.sum().item())
            return min(one.repeat(3, number=1)[1:])

    threads, rows = torch.get_num_threads(), model.batch_size
    try:
        if model.device.type == "cpu":
            torch.set_num_threads(1)
        return seconds(1, READ) / READ, seconds(rows, 1) / rows
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    work(**json.loads(sys.argv[1]))
