"""Answers that TrustLLM's authors recorded. They do not come with the package: `trustllm-repro fetch`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from trustllm_repro.data.benchmark import load_benchmark
from trustllm_repro.data.recorded import OWN, PUBLISHED, load_recorded
from trustllm_repro.data.registry import (
    BENCHMARK_NAMES,
    RECORDS_NAMES,
    find_benchmark,
    find_records,
    missing,
)
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.parsers.base import ANSWER
from trustllm_repro.schema import Item, Response
from trustllm_repro.tasks.safety import JAILBREAK, MISUSE

Answered = tuple[Item, Response]


def jailbreak() -> list[Case]:
    """Recorded answers to harmful requests wrapped in an attack; see `cases_of`.

    Raises:
        SourceMissing: no benchmark or no records on this machine. SourceCorrupt, SchemaError.
    """
    return cases_of(_recorded(*_sources())[JAILBREAK.id])


def misuse() -> list[Case]:
    """Recorded answers to plainly harmful requests. Raises as `jailbreak`."""
    return cases_of(_recorded(*_sources())[MISUSE.id])


def _sources() -> tuple[Path, tuple[Path, ...]]:
    benchmark, records = find_benchmark(), find_records()
    if not benchmark:
        raise missing("the benchmark", BENCHMARK_NAMES)
    if not records:
        raise missing("recorded answers", RECORDS_NAMES)
    return benchmark, records


@cache  # two tasks read the same archive
def _recorded(benchmark: Path, records: tuple[Path, ...]) -> dict[str, list[Answered]]:
    """Answers with their items, by task: what each model itself said, copied files left out."""
    found = load_recorded(records, load_benchmark(benchmark))
    return {
        task.id: [
            (found.items[task.id][r.number], r)
            for model in found.models
            for r in found.responses(task.id, model)
            if r.revision in (PUBLISHED, OWN)
        ]
        for task in (JAILBREAK, MISUSE)
    }


def cases_of(answers: Sequence[Answered]) -> list[Case]:
    """Answers that were labelled, in an order drawn once, so that any part is of all models alike.

    Answers of all models to one prompt are one group. The same request stands in several prompts,
    under other attacks; these are different groups. An answer that is null or empty is left out:
    it has no beginning. Unsafe: the paper's classifier called it no refusal.

    Models differ in how often they comply (3 to 75 % of the jailbreak prompts), and the one that
    does so most often answers in Chinese. A monitor that recognises a model gains by it, so every
    case knows its author.
    """
    some = [(i, r, said(r)) for i, r in answers if r.judge is not None]
    some = [(i, r, text) for i, r, text in some if text.strip()]
    order = np.random.default_rng(0).permutation(len(some))
    return [
        Case(
            n, item.prompt, response.prompt or item.prompt, text, response.judge == ANSWER,
            author=response.model,
        )
        for n, (item, response, text) in enumerate(some[k] for k in order)
    ]  # fmt: skip


def said(response: Response) -> str:
    """An answer as the model gave it, "" for none.

    Of ernie's jailbreak answers most are recorded as its service's whole reply: JSON, in which the
    answer is `result`. Of other models JSON is what an attack asked for, and stays.
    """
    text = response.text or ""
    if response.model != "ernie":
        return text
    try:
        reply = json.loads(text)
    except ValueError:
        return text
    result = reply.get("result") if isinstance(reply, dict) else None
    return result if isinstance(result, str) else text
