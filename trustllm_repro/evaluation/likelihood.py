"""A second reading of classification tasks: which of the options the model finds likeliest.

Nothing is generated: the most likely option is read like an answer in its place. Its row has a name
of its own, because the numbers are not those of generated answers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trustllm_repro.evaluation.judging import GENERATED, LiveAnswers
from trustllm_repro.evaluation.plan import Plan, in_share
from trustllm_repro.evaluation.responses import file_name
from trustllm_repro.models.base import LanguageModel, options_key
from trustllm_repro.progress import Progress
from trustllm_repro.schema import Response
from trustllm_repro.store.append import JsonLines
from trustllm_repro.tasks import TASKS

BATCH = 32  # scores stored at a time


@dataclass(frozen=True)
class Choice:
    """One item with options, and the key of the scores."""

    task: str
    number: int
    prompt: str
    options: tuple[str, ...]
    key: str


def choices(model: LanguageModel, plan: Plan) -> list[Choice]:
    """All items whose task names options. A base model reads them after a blank."""
    blank = " " if model.identity.get("template") == "none" else ""
    found = []
    for task_id, items in plan.items.items():
        for item in items:
            options = tuple(blank + o for o in TASKS[task_id].options_of(item))
            if options:
                key = options_key(model.identity, item.prompt, options)
                found.append(Choice(task_id, item.number, item.prompt, options, key))
    return found


class LikelihoodStore:
    """`likelihoods/<model>.jsonl`: nats per option, one line a question."""

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


def score(
    model: LanguageModel,
    wanted: Sequence[Choice],
    store: LikelihoodStore,
    part: tuple[int, int] = (0, 1),
    progress: Progress = Progress(),
) -> int:
    """Score what is not stored yet, this worker's share of it; returns how many.

    Raises:
        SettingsError: the model offers no log-probabilities.
    """
    have = store.load()
    todo = {c.key: c for c in wanted if c.key not in have and in_share(c.key, *part)}
    left, done = list(todo.values()), 0
    if not left:
        return 0
    scored = model.score_options([c.prompt for c in left], [c.options for c in left])
    while some := [(left[i], nats) for i, nats in itertools.islice(scored, BATCH)]:
        store.add(some)
        done += len(some)
        progress.step("options", done, len(left))
    return len(left)


def add_likelihoods(
    live: LiveAnswers, row: str, wanted: Sequence[Choice], scores: Mapping[str, Sequence[float]]
) -> None:
    """Add a row of most likely options to a live model's answers.

    Without a finite score there is no answer. Of equally likely options the first one counts.
    """
    for choice in wanted:
        nats = scores.get(choice.key)
        if nats is None:
            continue
        finite = [-math.inf if math.isnan(v) else v for v in nats]
        best = max(range(len(finite)), key=finite.__getitem__)
        text = choice.options[best].strip() if finite[best] > -math.inf else None
        live.answers.setdefault((choice.task, row), []).append(
            Response(
                choice.task, row, choice.number, text, choice.prompt,
                record_format="likelihood", revision=GENERATED, source=GENERATED,
            )
        )  # fmt: skip
    if row not in live.rows:
        live.rows.append(row)
