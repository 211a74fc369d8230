"""Let one model answer, for a notebook: the settings most people need, as one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trustllm_repro.data.benchmark import MINIATURE
from trustllm_repro.data.registry import find_benchmark
from trustllm_repro.evaluation.plan import Settings
from trustllm_repro.evaluation.responses import file_name
from trustllm_repro.evaluation.run import Evaluation, Job, evaluate
from trustllm_repro.scoring.run import Run


def evaluate_model(
    model: str,
    run: Run,
    *,
    benchmark: str = "",
    limit: int = 0,
    max_new_tokens: int = 128,
    dtype: str = "auto",
    workers: int = 0,
    note: Callable[[str], None] = print,
) -> Evaluation:
    """Ask, judge and score a model; the result lies in `<run>/live/<model>`.

    What was answered before is not asked again. `evaluate --help` has all settings.

    Args:
        model: hub id, folder, GGUF file, endpoint, or the name of a model a package brings.
        benchmark: ZIP or folder; "miniature" for a demonstration; empty: look for it, else the
            miniature.
        limit: about so many items a task; 0: all.
        max_new_tokens: longest answer; the paper: 512.
        dtype: auto, float32, bfloat16 or float16.
        workers: processes; 0: what fits this machine.

    Returns:
        an Evaluation: `row` (the model's name in tables), `cells`, `live.counts` (what became of
        the requests, a line a task), `cost` (answers, tokens, seconds), `dtype`.

    Raises:
        SourceMissing: the model or the benchmark is not on this machine.
        ReproError: a source is malformed, or a worker died; what was answered stays.
    """
    found = None if benchmark == MINIATURE else find_benchmark(benchmark)
    # A folder for each: answers to the miniature must not look like results.
    name = file_name(Path(model).name) + ("" if found else f"-{MINIATURE}")
    settings = Settings(limit=limit or None, max_new_tokens=max_new_tokens)
    job = Job(
        model, str(found or MINIATURE), run.path / "live" / name, settings,
        dtype=dtype, workers=workers,
    )  # fmt: skip
    return evaluate(job, note=note)
