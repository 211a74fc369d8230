"""How long a live run will take, before it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trustllm_repro.models.base import Request

SAMPLE = 200  # prompts counted in tokens; the rest is taken to be alike
_READ = 256  # tokens of the timed reading pass


@dataclass(frozen=True)
class Estimate:
    """Work to do and, for a model on this machine, the time it takes at most.

    Attributes:
        answers, prompt_tokens: still to be made and read (the latter without shared prefixes).
        new_tokens: made if no answer ended before its limit.
        seconds: at that many tokens; None where the speed cannot be known (an endpoint).
    """

    answers: int
    prompt_tokens: int
    new_tokens: int
    seconds: float | None

    def __str__(self) -> str:
        work = (
            f"{self.answers:,} answers to make: about {self.prompt_tokens:,} tokens to read and at "
            f"most {self.new_tokens:,} to write"
        )
        return work if self.seconds is None else f"{work}; at most {duration(self.seconds)}"


def duration(seconds: float) -> str:
    """ "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate(model: Any, requests: Sequence[Request], workers: int) -> Estimate:
    """Count tokens, and time two passes of a local model: one that reads, one that writes."""
    sample = requests[:: max(1, len(requests) // SAMPLE)]
    count = getattr(model, "tokens", None)
    lengths = [len(count(r.prompt)) if count else len(r.prompt) // 4 for r in sample]
    prompt_tokens = round(sum(lengths) / max(1, len(lengths)) * len(requests))
    new_tokens = sum(r.max_new_tokens for r in requests)
    seconds = None
    if count and requests:
        read, write = pace(model)
        seconds = (prompt_tokens / read + new_tokens / write) / workers
    return Estimate(len(requests), prompt_tokens, new_tokens, seconds)


def pace(model: Any) -> tuple[float, float]:
    """Tokens read and tokens written per second by one process of one thread (or one GPU)."""
    import torch

    threads, rows = torch.get_num_threads(), model.batch_size
    try:
        if model.device.type == "cpu":
            torch.set_num_threads(1)
        return _READ / _seconds(model, 1, _READ), rows / _seconds(model, rows, 1)
    finally:
        torch.set_num_threads(threads)


def _seconds(model: Any, rows: int, columns: int) -> float:
    """Of a forward pass, the better of two after one to warm up."""
    import torch

    ids = torch.zeros((rows, columns), dtype=torch.long, device=model.device)
    times = []
    with torch.inference_mode():
        for _ in range(3):
            start = time.perf_counter()
            model.model(input_ids=ids, logits_to_keep=1).logits.float().sum().item()
            times.append(time.perf_counter() - start)
    return min(times[1:])
