"""30_early_tokens_gpu: the pilot and the single-pass monitors on a larger model, and what they cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from trustllm_repro.errors import SourceMissing
from trustllm_repro.paths import data_dir
from trustllm_repro.report import html, online
from trustllm_repro.store.atomic import write_json

# Run folder of this notebook's own study, below the other: the tables of 20_pilot are not mixed
# with these. It is the `run` of everything here.
FOLDER = "early_tokens"
NOT_MEASURED = "0 repeats were asked for: what is shown was measured before"
NO_GPU = "there is no GPU here, and on a CPU random weights of that shape show nothing"


def watch(run: Path, parameters: dict[str, Any]) -> str:
    """Let the model answer and watch it by what one pass leaves; HTML as online.watch."""
    named = ("tasks", "limit", "prompts", "dtype", "device", "batch_size")
    job = {k: parameters[k] for k in named}
    return online.watch(run, [parameters["model"]], **job, allowed="single pass")


def measure(run: Path, parameters: dict[str, Any]) -> str:
    """Time plain and watched generation, if asked to; HTML that says what was not, and why."""
    if not parameters["repeats"]:
        return html.note(NOT_MEASURED)
    try:
        from trustllm_repro.models.local import find_device
        from trustllm_repro.online import overhead
    except ModuleNotFoundError as e:
        return html.note(f"the package {e.name} is not installed")
    shapes, on_cpu = [""], find_device(parameters["device"]).type == "cpu"
    if parameters["shape"] and not on_cpu:
        shapes.append(parameters["shape"])
    for shape in shapes:
        try:
            facts = overhead.of(
                parameters["model"], shape, parameters["dtype"], parameters["device"],
                parameters["repeats"],
            )  # fmt: skip
        except SourceMissing as e:
            return html.note(str(e))
        write_json(run / f"overhead_{shape or 'model'}.json", facts)
    return html.note(NO_GPU) if parameters["shape"] and on_cpu else ""


def costs(run: Path) -> pd.DataFrame:
    """What watching adds to generation: committed measurements, then this run's, a line a batch."""
    committed = sorted((data_dir() / "measurements").glob("overhead*.json"))
    own = sorted(run.glob("overhead*.json"))
    lines = [line for path in (*committed, *own) for line in _lines(path, path in own)]
    # Without a GPU there is no peak of its memory: NaN, which is shown as an empty cell.
    return pd.DataFrame(lines).astype({"GPU GiB, plain": float, "GPU GiB, watched": float})


def _lines(path: Path, own: bool) -> list[dict[str, Any]]:
    facts = json.loads(path.read_text(encoding="utf-8"))
    machine, settings = facts["machine"], facts["settings"]
    on = (machine.get("gpu") or {}).get("names") or [machine["cpu"]]
    lines = []
    for size, found in sorted(facts["batch_size"].items(), key=lambda kv: int(kv[0])):
        whole, least = (found[k] for k in ("all single-pass", "likelihood and entropy"))
        lines.append(
            {
                "measured": "this run" if own else "committed", "on": on[0],
                "model": settings.get("model") or f"random weights, {settings['shape']}",
                "batch": int(size), "tokens/s, plain": found["plain_tokens_per_second"],
                "tokens/s, watched": whole["tokens_per_second"],
                "all single-pass, % more": _span(whole["together_percent"]),
                "likelihood and entropy, % more": _span(least["together_percent"]),
                "GPU GiB, plain": found["plain_peak_gpu_gib"],
                "GPU GiB, watched": whole["peak_gpu_gib"],
            }
        )  # fmt: skip
    return lines


def _span(percent: dict[str, float]) -> str:
    return "{median:.1f} ({min:.1f} to {max:.1f})".format(**percent)
