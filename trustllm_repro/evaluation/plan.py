"""What a live run asks a model: tasks, items, samples, options, and the key of every answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from trustllm_repro.data.benchmark import Benchmark
from trustllm_repro.errors import SettingsError
from trustllm_repro.models.base import (
    LanguageModel,
    Request,
    check_asking,
    content_key,
    item_seed,
    options_key,
)
from trustllm_repro.schema import Item
from trustllm_repro.tasks import DIMENSIONS, TASKS


@dataclass(frozen=True)
class Settings:
    """How a live run asks.

    Attributes:
        dimensions: names of tasks.DIMENSIONS; empty means all.
        limit: about so many items a task, spread over its parts; None means all.
        max_new_tokens: the paper's setting is 512.
        samples: answers per item where the task's temperature is above 0.
        seed: base of all answers' seeds.
        likelihood: also read classification tasks by the options' log-probabilities.
        system, sampling: see models.base.SYSTEM and SAMPLING; by default as the official toolkit
            asks. A model must be made with them; an endpoint has its own.
    """

    dimensions: tuple[str, ...] = ()
    limit: int | None = None
    max_new_tokens: int = 512
    samples: int = 1
    seed: int = 0
    likelihood: bool = True
    system: str = "blank"
    sampling: str = "model"

    def __post_init__(self) -> None:
        unknown = [d for d in self.dimensions if d not in DIMENSIONS]
        if unknown:
            raise SettingsError(
                f"unknown dimension {unknown[0]!r}", remedy=f"one of: {', '.join(DIMENSIONS)}"
            )
        for name in ("max_new_tokens", "samples"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1")
        if self.limit is not None and self.limit < 1:
            raise SettingsError("limit must be at least 1", remedy="leave it out to ask all items")
        check_asking(self.system, self.sampling)


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer that is wanted: to which item of which task, under which key.

    `request` is None where the answers are there already.
    """

    task: str
    number: int
    sample: int
    key: str
    request: Request | None = None


@dataclass(frozen=True)
class Plan:
    """All that is asked: items per task, and an answer per (task, item, sample)."""

    items: Mapping[str, list[Item]]
    asked: Sequence[Asked]

    def missing(self, have: Mapping[str, object]) -> list[Asked]:
        """What has no answer yet; equal keys are asked once."""
        left: dict[str, Asked] = {}
        for asked in self.asked:
            if asked.key not in have:
                left.setdefault(asked.key, asked)
        return list(left.values())


def make_plan(model: LanguageModel, benchmark: Benchmark, settings: Settings) -> Plan:
    """Items of all live tasks, and the requests to the model. Toxicity reads the answers to jailbreak
    prompts, which are asked for once."""
    items: dict[str, list[Item]] = {}
    asked = []
    for task in TASKS.values():
        if not task.live or (settings.dimensions and task.dimension not in settings.dimensions):
            continue
        assert task.file is not None
        items[task.id] = stratified(task.items(benchmark[task.file]), settings.limit)
        if task.answers_of:
            continue
        for item in items[task.id]:
            for sample in range(settings.samples if task.temperature else 1):
                request = Request(
                    item.prompt,
                    settings.max_new_tokens,
                    float(task.temperature),
                    item_seed(settings.seed, task.id, item.number, sample),
                )
                key = content_key(model.identity, request, sample)
                asked.append(Asked(task.id, item.number, sample, key, request))
    return Plan(items, asked)


@dataclass(frozen=True)
class Choice:
    """One item with options, and the key of their log-probabilities."""

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


def in_share(key: str, worker: int, workers: int) -> bool:
    """Whether a key belongs to this worker's share, which is the same whatever is stored already."""
    return int(key[:8], 16) % workers == worker


def stratified(items: Sequence[Item], limit: int | None) -> list[Item]:
    """About `limit` items of a task, taken in turn from every combination of facets.

    A facet that is a number measures an item and makes no part of its own. Items of one pair come
    together; at least one pair is taken. The choice depends on the items only, and a larger limit
    takes the smaller one's items and more.
    """
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
