"""Let a model answer what is not answered yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from trustllm_repro.evaluation.plan import Plan
from trustllm_repro.evaluation.responses import ResponseStore
from trustllm_repro.models.base import LanguageModel

Progress = Callable[[int, int, int], None]  # answers done, answers in all, new tokens so far


@dataclass(frozen=True)
class Generated:
    """What generation cost: answers, tokens read and made, seconds."""

    answers: int
    prompt_tokens: int
    new_tokens: int
    seconds: float


def generate(
    model: LanguageModel,
    plan: Plan,
    store: ResponseStore,
    progress: Progress = lambda done, total, tokens: None,
    part: tuple[int, int] = (0, 1),
) -> Generated:
    """Make all missing answers and store each batch as it ends.

    Args:
        part: (worker, workers): this process makes only its share of the missing answers.
    """
    start = time.perf_counter()
    todo = [i for i in plan.missing(store.load()) if mine(plan.asked[i].key, *part)]
    answers = read = made = 0
    progress(0, len(todo), 0)
    for batch in model.complete([plan.requests[i] for i in todo]):
        store.add((plan.asked[todo[at]], completion) for at, completion in batch)
        answers += len(batch)
        read += sum(c.prompt_tokens for _, c in batch)
        made += sum(c.new_tokens for _, c in batch)
        progress(answers, len(todo), made)
    return Generated(answers, read, made, time.perf_counter() - start)


def mine(key: str, worker: int, workers: int) -> bool:
    """Whether a key belongs to this worker's share.

    Shares go by key, so they are the same whatever is stored already and whoever starts first.
    """
    return int(key[:8], 16) % workers == worker
