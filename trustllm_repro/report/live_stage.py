"""05_live: one model answers, so that the other notebooks have a live row."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from trustllm_repro.data.benchmark import MINIATURE
from trustllm_repro.data.registry import find_benchmark
from trustllm_repro.errors import SourceMissing
from trustllm_repro.report import html

INSTALL = "pip install torch==2.13.0, then pip install -e '.[live]'"


def answer(run: Path, parameters: dict[str, Any]) -> str:
    """Let the model of the parameters answer; HTML that says what was done, or why it was not.

    A model that cannot be had stops nothing else: its rows are absent, and the page says why.
    """
    try:
        return _answered(run, parameters)
    except SourceMissing as e:
        return _told("no live row", str(e))
    except ModuleNotFoundError as e:
        return _told("no live row", f"the package {e.name} is not installed; remedy: {INSTALL}")


def _told(head: str, text: str) -> str:
    return html.STYLE + html.paragraph_list([("not recorded", head, text)])


def _answered(run: Path, parameters: dict[str, Any]) -> str:
    # Notebooks without widgets are no fault; the warning would also print a path of this machine.
    warnings.filterwarnings("ignore", message="IProgress not found")
    from trustllm_repro.evaluation.plan import Settings
    from trustllm_repro.evaluation.responses import file_name
    from trustllm_repro.evaluation.run import Job, evaluate

    wanted = parameters["benchmark"]
    benchmark = None if wanted == MINIATURE else find_benchmark(wanted)
    demonstration = benchmark is None
    # A folder for each: answers to the miniature must not look like results.
    name = file_name(Path(parameters["model"]).name) + (f"-{MINIATURE}" if demonstration else "")
    settings = Settings(
        limit=parameters["limit"] or None, max_new_tokens=parameters["max_new_tokens"]
    )
    job = Job(
        parameters["model"],
        MINIATURE if demonstration else str(benchmark),
        run / "live" / name,
        settings,
        dtype=parameters["dtype"],
        workers=parameters["workers"],
    )
    notes: list[str] = []
    done = evaluate(job, note=notes.append)
    asked = sum(c["items"] for c in done.live.counts)
    cost = done.cost
    facts = {
        "model": done.row,
        "questions": f"{asked:,}, " + ("miniature: a demonstration" if demonstration else
            f"about {settings.limit} a task" if settings.limit else "the whole benchmark"),
        "answers made now": f"{cost.answers:,}",
        "tokens read, written": f"{cost.prompt_tokens:,}, {cost.new_tokens:,}",
        "seconds": f"{cost.seconds:.0f}",
        "dtype": done.dtype,
        "longest answer": f"{settings.max_new_tokens} tokens",
        "folder": f"live/{name}",
        **({"before the start": notes[0]} if notes else {}),
    }  # fmt: skip
    frame = pd.DataFrame({"what": facts.keys(), "here": facts.values()})
    counts = pd.DataFrame(done.live.counts)
    return html.STYLE + html.plain_table(frame, wrap=("here",)) + html.plain_table(counts)
