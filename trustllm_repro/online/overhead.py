"""What watching costs: generation with all single-pass monitors against plain generation.

    python -m trustllm_repro.online.overhead [--model smollm2-135m] [--dtype bfloat16]

writes data/measurements/overhead.json. Plain and watched generation of the same answers are timed
in turn, after a round that is not counted; ratios are of neighbouring runs, and medians are given.
Scoring is timed apart, over the same answers: what runs at every token is vectorised over tokens
here, which a monitor that must answer after each of them cannot do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trustllm_repro.errors import exit_code
from trustllm_repro.models.base import Request
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.monitors.base import Monitor, Need, Seen, all_monitors
from trustllm_repro.online.recorder import blocks_of
from trustllm_repro.online.run import watchable
from trustllm_repro.online.traces import generated
from trustllm_repro.sources.manifests import data_dir
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance

BATCHES = (1, 8, 32)
SINGLE_PASS = frozenset({Need.LOGP, Need.ENTROPY, Need.TOP, Need.FIRST, Need.HIDDEN})
# Ours, of mixed length; what is answered does not matter for the time.
TOPICS = ("trams", "bread", "rivers", "chess", "bees", "clouds", "bridges", "maps")
ASKS = ("Tell me about {}.", "Write a short story in which {} matter to an old teacher and her dog.",
        "What should a child know about {}, and why? Give three reasons.", "{}?")  # fmt: skip


def prompts(n: int) -> list[str]:
    """n different prompts."""
    return [f"{i}. " + ASKS[i % 4].format(TOPICS[i // 4 % 8]) for i in range(n)]


def single_pass() -> dict[str, Monitor]:
    """Monitors that need nothing but what one generation leaves."""
    return {n: m for n, m in all_monitors().items() if m.needs and m.needs <= SINGLE_PASS}


def _fitted(seen: Sequence[Seen]) -> dict[str, Monitor]:
    """With labels that mean nothing: for the time they do not matter."""
    labels = np.arange(len(seen)) % 2 == 1
    return {n: m.fit(seen, labels) if m.trained else m for n, m in single_pass().items()}


def measure(model: LocalModel, tokens: int = 64, repeats: int = 5) -> dict[str, Any]:
    """Seconds and ratios per batch size."""
    depth = len(blocks_of(model.model))
    layers = (depth // 2, depth)
    many = [Request(p, tokens) for p in prompts(32)]
    seen = [Seen(t) for batch in generated(model, many, layers) for _, _, t in batch if t]
    monitors = _fitted(seen)
    return {str(b): _batch(model, b, layers, monitors, tokens, repeats) for b in BATCHES}


def _batch(
    model: LocalModel, size: int, layers: Sequence[int], monitors: Mapping[str, Monitor],
    tokens: int, repeats: int,
) -> dict[str, Any]:  # fmt: skip
    requests = [Request(p, tokens) for p in prompts(max(2 * size, 8))]
    model.batch_size = size
    plain, watched, scoring = [], [], []
    for turn in range(repeats + 1):
        start = time.perf_counter()
        made = sum(c.new_tokens for batch in model.complete(requests) for _, c in batch)
        between = time.perf_counter()
        seen = [Seen(t) for batch in generated(model, requests, layers) for _, _, t in batch if t]
        recorded = time.perf_counter()
        for monitor in monitors.values():
            monitor(seen)
        end = time.perf_counter()
        if turn:  # the first round warms up
            plain.append(between - start)
            watched.append(recorded - between)
            scoring.append(end - recorded)
    rounds = list(zip(plain, watched, scoring, strict=True))
    return {
        "new_tokens": made,
        "plain_seconds": round(statistics.median(plain), 3),
        "recording_percent": _percent([w / p - 1 for p, w, _ in rounds]),
        "scoring_percent": _percent([s / p for p, _, s in rounds]),
        "together_percent": _percent([(w + s) / p - 1 for p, w, s in rounds]),
    }


def _percent(values: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {k: round(100 * v, 1) for k, v in found.items()}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=data_dir() / "measurements" / "overhead.json")
    given = parser.parse_args(words)
    return exit_code(lambda: _write(given))


def _write(given: argparse.Namespace) -> None:
    model = watchable(given.model, given.dtype, given.device)
    found = measure(model, repeats=given.repeats)
    machine = provenance({}, {})
    facts = {
        "what": "all single-pass monitors over plain generation, percent of its wall time",
        "monitors": sorted(single_pass()),
        "batch_size": found,
        "settings": {"model": given.model, "dtype": given.dtype, "repeats": given.repeats},
        "machine": {k: machine[k] for k in ("cpu", "threads", "os", "python", "git")},
    }
    write_json(given.out, facts)


if __name__ == "__main__":
    sys.exit(main())
