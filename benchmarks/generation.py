"""Speed of generation and option scoring against other ways, interleaved, on real prompts.

Every contender keeps its processes for all rounds: loading is not timed, and a ratio compares runs
of one machine in one state. Wall time of a contender is that of its slowest process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trustllm_repro.data.benchmark import Benchmark, load_benchmark
from trustllm_repro.errors import ReproError, SettingsError
from trustllm_repro.evaluation.generate import stratified
from trustllm_repro.models.find import find_model
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance
from trustllm_repro.tasks import TASKS

OURS, OUR_OPTIONS = "this_package", "options_of_this_package"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Contender:
    """One way to do the job: which function (see benchmarks.contenders), by how many processes.

    Attributes:
        threads: of each; 0: all cores. stock: with torch's own kernels, as others run a model.
    """

    name: str
    function: str
    dtype: str
    processes: int = 1
    threads: int = 0
    stock: bool = True


@dataclass
class Round:
    """What a contender did in one round."""

    seconds: float
    peaks: list[int]
    outcome: dict[str, list[Any]]


@dataclass
class Team:
    """The processes of one contender, loaded and waiting."""

    contender: Contender
    processes: list[subprocess.Popen[str]]
    before: list[int] = field(default_factory=list)
    loaded: list[int] = field(default_factory=list)

    def ready(self) -> None:
        for process in self.processes:
            facts = self._read(process)
            self.before.append(facts["before"])
            self.loaded.append(facts["loaded"])

    def run(self) -> Round:
        start = time.perf_counter()
        for process in self.processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        done = [self._read(p) for p in self.processes]
        seconds = time.perf_counter() - start
        outcome = {k: v for d in done for k, v in d["outcome"].items()}
        return Round(seconds, [d["peak"] for d in done], outcome)

    def _read(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise ReproError(
                f"a process of the contender {self.contender.name!r} stopped with exit code "
                f"{process.wait()}",
                remedy="run it alone to see why; most often memory ran out",
            )
        return json.loads(line)


def contenders(dtypes: Sequence[str], cores: int) -> list[Contender]:
    """The bench table: ours as `evaluate` runs it, and each way it is held against."""
    found = []
    for dtype in dtypes:
        found += [
            Contender(f"this package, {dtype}", OURS, dtype, cores, 1, stock=False),
            Contender(f"one prompt at a time, {dtype}", "one_at_a_time", dtype),
            Contender(f"plain batched generate, {dtype}", "batched", dtype),
        ]
        if dtype == dtypes[0]:
            found += [
                Contender(
                    f"sorted generate, {dtype}", "sorted_batched", dtype, cores, 1, stock=False
                ),
                Contender(f"generate_batch, {dtype}", "continuous", dtype),
            ]
    first = dtypes[0]
    found += [
        Contender(f"options, this package, {first}", OUR_OPTIONS, first, cores, 1, stock=False),
        Contender(f"options, one forward each, {first}", "one_forward_per_option", first),
    ]
    if importlib.util.find_spec("lm_eval"):
        found += [
            Contender(f"lm-eval, {first}", "lm_eval_generate", first),
            Contender(f"options, lm-eval, {first}", "lm_eval_options", first),
        ]
    return found


def prompts_of(benchmark: Benchmark, per_task: int) -> tuple[list[str], list[list[str]]]:
    """Prompts of all live tasks in file order, and the options of those that have some."""
    prompts, options = [], []
    for task in TASKS.values():
        if not task.live or task.answers_of:
            continue
        assert task.file is not None
        for item in stratified(task.items(benchmark[task.file]), per_task):
            prompts.append(item.prompt)
            options.append(list(task.options_of(item)))
    return prompts, options


def measure(
    model: str,
    benchmark: str,
    to: Path,
    *,
    per_task: int = 3,
    max_new_tokens: int = 64,
    batch_size: int = 32,
    repeats: int = 3,
    dtypes: Sequence[str] = ("bfloat16", "float32"),
    say: Say = print,
) -> dict[str, Any]:
    """Run all contenders in turn, `repeats` times, and write medians and ratios to `to`.

    Raises:
        SettingsError: the model is not on this machine. ReproError: a process stopped.
    """
    folder = getattr(find_model(model), "folder", None)
    if folder is None:
        raise SettingsError("only models on this machine can be timed")
    prompts, options = prompts_of(load_benchmark(benchmark), per_task)
    job = {"model": str(folder), "batch_size": batch_size, "max_new_tokens": max_new_tokens}
    all_of_them = contenders(dtypes, cores())
    with ExitStack() as stack:
        teams = [start(stack, c, job, prompts, options) for c in all_of_them]
        rounds = in_turn(teams, repeats, say=say)
        facts: dict[str, Any] = {
            "what": "wall seconds of the slowest process of each contender, models loaded before",
            "contenders": table(teams, rounds),
            "ratios": _ratios(rounds, dtypes),
        }
    settings = {
        "prompts": len(prompts), "prompts_with_options": sum(map(bool, options)),
        "max_new_tokens": max_new_tokens, "batch_size": batch_size, "repeats": repeats,
        "decoding": "greedy",
    }  # fmt: skip
    facts |= {"settings": settings | {"model": find_model(model).name}, "machine": machine()}
    write_json(to, facts)
    return facts


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def start(
    stack: ExitStack,
    contender: Contender,
    job: dict[str, Any],
    prompts: list[str],
    options: list[list[str]],
) -> Team:
    """Start the processes of a contender; they have loaded the model when this returns.

    Args:
        job: model folder, batch_size, max_new_tokens. stack: ends them.
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    if "option" in contender.function:
        kept = [i for i, some in enumerate(options) if some]
        prompts, options = [prompts[i] for i in kept], [options[i] for i in kept]
    processes = []
    threads = contender.threads or cores()
    for k in range(contender.processes):
        path = folder / f"{k}.json"
        facts = job | {
            "contender": contender.function, "dtype": contender.dtype, "threads": threads,
            "stock": contender.stock, "part": [k, contender.processes],
            "prompts": prompts, "options": options,
        }  # fmt: skip
        path.write_text(json.dumps(facts))
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contenders", str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
        stack.enter_context(process)
        stack.callback(process.kill)
        processes.append(process)
    team = Team(contender, processes)
    team.ready()
    return team


def in_turn(
    teams: Sequence[Team], repeats: int, *, warm_up: int = 0, say: Say = lambda text: None
) -> dict[str, list[Round]]:
    """Let every team work `repeats` times, one after the other; rounds by contender.

    Args:
        warm_up: rounds before these, which are not counted.
    """
    rounds: dict[str, list[Round]] = {team.contender.name: [] for team in teams}
    for k in range(warm_up + repeats):
        for team in teams:
            done = team.run()
            if k >= warm_up:
                rounds[team.contender.name].append(done)
                say(f"round {k - warm_up + 1}: {team.contender.name}: {done.seconds:.1f} s")
    return rounds


def machine() -> dict[str, Any]:
    """What a measurement says of where it was made."""
    facts = provenance({}, {})
    return {k: facts[k] for k in ("cpu", "threads", "os", "python", "git")}


def table(teams: Sequence[Team], rounds: dict[str, list[Round]]) -> dict[str, dict[str, Any]]:
    """Of each contender: processes, seconds, tokens per second, and memory of the largest one."""
    found = {}
    for team in teams:
        name, done = team.contender.name, rounds[team.contender.name]
        seconds = [r.seconds for r in done]
        made = sum(v[1] for v in done[0].outcome.values() if isinstance(v[0], str))
        found[name] = {
            "processes": team.contender.processes,
            "threads_each": team.contender.threads or cores(),
            "seconds": {
                "median": round(statistics.median(seconds), 2),
                "min": round(min(seconds), 2),
                "max": round(max(seconds), 2),
            },
            **({"new_tokens": made, "tokens_per_second": round(made / statistics.median(seconds), 1)}
               if made else {}),
            "peak_mb_per_process": _mb(max(max(r.peaks) for r in done)),
            "imports_mb": _mb(max(team.before)),
            "after_loading_mb": _mb(max(team.loaded)),
        }  # fmt: skip
    return found


def _mb(size: int) -> int:
    return round(size / 2**20)


def _ratios(rounds: dict[str, list[Round]], dtypes: Sequence[str]) -> dict[str, Any]:
    """Other over ours, round by round: median, extremes, and how many answers are the same."""
    pairs = {
        f"{way}, {dtype}": (f"{way}, {dtype}", f"this package, {dtype}")
        for dtype in dtypes
        for way in ("one prompt at a time", "plain batched generate")
    }
    first = dtypes[0]
    for way in ("sorted generate", "generate_batch"):
        pairs[f"{way}, {first}"] = (f"{way}, {first}", f"this package, {first}")
    pairs["options, one forward each"] = (
        f"options, one forward each, {first}", f"options, this package, {first}",
    )  # fmt: skip
    pairs[f"lm-eval, {first}"] = (f"lm-eval, {first}", f"this package, {first}")
    pairs["options, lm-eval"] = (
        f"options, lm-eval, {first}", f"options, this package, {first}",
    )  # fmt: skip
    found = {}
    for name, (other, ours) in pairs.items():
        if other not in rounds:
            continue
        ratios = [a.seconds / b.seconds for a, b in zip(rounds[other], rounds[ours], strict=True)]
        theirs, mine = rounds[other][0].outcome, rounds[ours][0].outcome
        found[name] = {
            "median": round(statistics.median(ratios), 2),
            "min": round(min(ratios), 2),
            "max": round(max(ratios), 2),
            "same_answers": sum(_same(theirs[k], mine[k]) for k in theirs),
            "answers": len(theirs),
        }
    return found


def _same(one: list[Any], two: list[Any]) -> bool:
    """Equal texts; or, for options, the same one is the likeliest."""
    if isinstance(one[0], str):
        return one[0] == two[0]
    return one.index(max(one)) == two.index(max(two))
