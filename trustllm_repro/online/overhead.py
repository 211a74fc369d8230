"""What watching costs: watched generation against plain generation.

    python -m trustllm_repro.online.overhead [--model smollm2-135m] [--dtype auto]
    python -m trustllm_repro.online.overhead --shape 7b      # random weights of that shape; a GPU

writes data/measurements/overhead_<dtype>.json, or overhead_<name of the GPU>.json. Plain and watched
generation of the same answers are timed in turn, after a round that is not counted; ratios are of
one round, and medians are given. Scoring is timed apart, over the same answers: what runs at every
token is vectorised over tokens here, which a monitor that must answer after each of them cannot do.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trustllm_repro.errors import SettingsError, exit_code
from trustllm_repro.models.base import Request
from trustllm_repro.models.local import LocalModel, find_device
from trustllm_repro.models.random_weights import SHAPES, random_model
from trustllm_repro.online.generations.recorder import blocks_of
from trustllm_repro.online.generations.traces import generated
from trustllm_repro.online.monitors.base import Monitor, Need, Seen, all_monitors
from trustllm_repro.online.studies.run import watchable
from trustllm_repro.online.studies.study import SINGLE_PASS
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import write_json
from trustllm_repro.store.provenance import provenance

BATCHES = {"cpu": (1, 8, 32), "cuda": (1, 8, 32, 128)}
# Ours, of mixed length; what is answered does not matter for the time.
TOPICS = ("trams", "bread", "rivers", "chess", "bees", "clouds", "bridges", "maps")
ASKS = ("Tell me about {}.", "Write a short story in which {} matter to an old teacher and her dog.",
        "What should a child know about {}, and why? Give three reasons.", "{}?")  # fmt: skip


def prompts(n: int) -> list[str]:
    """n different prompts."""
    return [f"{i}. " + ASKS[i % 4].format(TOPICS[i // 4 % 8]) for i in range(n)]


def single_pass() -> dict[str, Monitor]:
    """Monitors that need what one generation leaves, and need something."""
    return _needing(SINGLE_PASS)


def _needing(at_most: frozenset[Need]) -> dict[str, Monitor]:
    return {n: m for n, m in all_monitors().items() if m.needs and m.needs <= at_most}


@dataclass(frozen=True)
class Contender:
    """What is watched: monitors, and the layers recorded for them."""

    monitors: Mapping[str, Monitor]
    layers: Sequence[int]


# What only probabilities are needed for costs no state, and so is timed apart.
CHEAPEST = frozenset({Need.LOGP, Need.ENTROPY})


def contenders(model: LocalModel, tokens: int) -> dict[str, Contender]:
    """By name. Monitors are fitted to labels that mean nothing: for the time they do not matter."""
    depth = len(blocks_of(model.model))
    layers = (depth // 2, depth)
    many = [Request(p, tokens) for p in prompts(32)]
    seen = [Seen(t) for batch in generated(model, many, layers) for _, _, t in batch if t]
    labels = np.arange(len(seen)) % 2 == 1
    fitted = {n: m.fit(seen, labels) if m.trained else m for n, m in single_pass().items()}
    cheapest = {n: fitted[n] for n in _needing(CHEAPEST)}
    return {
        "all single-pass": Contender(fitted, layers),
        "likelihood and entropy": Contender(cheapest, ()),
    }


def measure(model: LocalModel, tokens: int = 64, repeats: int = 5) -> dict[str, Any]:
    """Per batch size: plain generation, and of each contender seconds and percent more.

    On a GPU also the peak of its memory.
    """
    watched = contenders(model, tokens)
    sizes = BATCHES.get(model.device.type, BATCHES["cpu"])
    return {str(b): _batch(model, b, watched, tokens, repeats) for b in sizes}


@dataclass
class _Clock:
    """Wall time and peak memory of what a device was asked to do; it works on after the call."""

    device: torch.device
    at: float = 0.0

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def start(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        self.at = time.perf_counter()

    def stop(self) -> tuple[float, float]:
        """Seconds since the start, and the most GiB there were at a time; NaN without a GPU."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - self.at
        most = torch.cuda.max_memory_allocated(self.device) / 2**30 if self.on_gpu else math.nan
        return seconds, most


def _batch(
    model: LocalModel, size: int, watched: Mapping[str, Contender], tokens: int, repeats: int
) -> dict[str, Any]:
    requests = [Request(p, tokens) for p in prompts(max(2 * size, 8))]
    model.batch_size, clock = size, _Clock(model.device)
    plain: list[tuple[float, float]] = []
    timed: dict[str, list[tuple[float, ...]]] = {name: [] for name in watched}
    for turn in range(repeats + 1):
        clock.start()
        made = sum(c.new_tokens for batch in model.complete(requests) for _, c in batch)
        before = clock.stop()
        after = {n: _watched(model, requests, c, clock) for n, c in watched.items()}
        if turn:  # the first round warms up
            plain.append(before)
            for name, found in after.items():
                timed[name].append(found)
    base = np.array(plain)
    return {
        "new_tokens": made,
        "answers_at_a_time": model.batch_size,  # falls where memory runs out
        "plain_seconds": round(float(np.median(base[:, 0])), 3),
        "plain_tokens_per_second": round(made / float(np.median(base[:, 0])), 1),
        "plain_peak_gpu_gib": _peak(base[:, 1]),
        **{n: _figures(made, base[:, 0], np.array(rounds)) for n, rounds in timed.items()},
    }


def _watched(
    model: LocalModel, requests: Sequence[Request], of: Contender, clock: _Clock
) -> tuple[float, float, float]:
    """Seconds of recording (generation in it) and of scoring, and GiB at most."""
    clock.start()
    seen = [Seen(t) for batch in generated(model, requests, of.layers) for _, _, t in batch if t]
    recorded, most = clock.stop()
    clock.start()
    for monitor in of.monitors.values():
        monitor(seen)
    return recorded, clock.stop()[0], most


def _figures(made: int, plain: np.ndarray, rounds: np.ndarray) -> dict[str, Any]:
    """Of plain seconds, (rounds,), and of what `_watched` gives, (rounds, 3)."""
    recorded, scored, most = rounds.T
    return {
        "tokens_per_second": round(made / float(np.median(recorded + scored)), 1),
        "recording_percent": _percent(recorded / plain - 1),
        "scoring_percent": _percent(scored / plain),
        "together_percent": _percent((recorded + scored) / plain - 1),
        "peak_gpu_gib": _peak(most),
    }


def _peak(gib: np.ndarray) -> float | None:
    return None if np.isnan(gib).any() else round(float(gib.max()), 2)


def _percent(values: np.ndarray) -> dict[str, float]:
    found = {"median": np.median(values), "min": values.min(), "max": values.max()}
    return {k: round(100 * float(v), 1) for k, v in found.items()}


def of(model: str, shape: str, dtype: str, device: str, repeats: int = 5) -> dict[str, Any]:
    """What is written: figures, monitors, settings, machine.

    Args:
        model: as for find_model. shape: of random_weights.SHAPES, instead of a model; or "".

    Raises:
        SettingsError: unknown shape, or a model whose states cannot be seen. Others as find_model.
    """
    watched = random_model(shape, dtype, device) if shape else watchable(model, dtype, device)
    named = {"shape": shape} if shape else {"model": model}
    found, machine = measure(watched, repeats=repeats), provenance({}, {})
    return {
        "what": "watched generation over plain generation, percent of its wall time",
        "monitors": {
            "all single-pass": sorted(single_pass()),
            "likelihood and entropy": sorted(_needing(CHEAPEST)),
        },
        "batch_size": found,
        "settings": {**named, "dtype": watched.identity["dtype"], "repeats": repeats},
        "machine": {k: machine[k] for k in ("cpu", "gpu", "threads", "os", "python", "git")},
    }


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--shape", default="", help=f"random weights: {', '.join(SHAPES)}")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args(words)
    return exit_code(lambda: _write(given))


def _write(given: argparse.Namespace) -> None:
    device = find_device(given.device)
    if given.shape and not given.out and device.type == "cpu":
        raise SettingsError("on a CPU, random weights show nothing", remedy="name a file: --out")
    found = of(given.model, given.shape, given.dtype, given.device, given.repeats)
    write_json(given.out or _target(device, given.shape, found["settings"]["dtype"]), found)


def _target(device: torch.device, shape: str, dtype: str) -> Path:
    """Where figures are committed: one file a GPU and shape; of the small model on a CPU, a dtype."""
    on = dtype
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device).lower()
        on = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    named = "_".join(filter(None, ("overhead", on, shape)))
    return data_dir() / "measurements" / f"{named}.json"


if __name__ == "__main__":
    sys.exit(main())
