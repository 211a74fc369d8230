"""What a guard costs while a model generates: `generate` with it over `generate` without.

    python -m benchmarks.guard --model smollm2-135m --dtype bfloat16 --rounds 20
    python -m benchmarks.guard --shape 7b --device cuda --dtype bfloat16 --rounds 10

Both make the same tokens, turn by turn. Nothing is learned from the weights, so random ones of the
shape of a large model do as well. Writes data/measurements/guard_<name>.json.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, StoppingCriteria

from tools import exit_code
from trustllm_repro.online.generations.recorder import middle_layers
from trustllm_repro.online.guard.watch import GuardCriteria, Probe
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import write_json

PROMPT = 64
SHAPES = {  # of Llama 2
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
           "num_attention_heads": 32, "vocab_size": 32000},
}  # fmt: skip


class Clock(StoppingCriteria):
    """Notes when each token was there."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, ids, scores, **kwargs):
        self.times.append(time.perf_counter())
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)


def load(model: str, shape: str, dtype: str, device: str) -> Any:
    """A model of transformers as its users load it."""
    if shape:
        with torch.device(device):
            config = LlamaConfig(**SHAPES[shape], max_position_embeddings=4096)
            return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    from trustllm_repro.models.find import find_model

    return find_model(model, dtype=dtype, device=device, stock=True).model


def generate(model: Any, rows: int, tokens: int, criteria: list[StoppingCriteria]) -> list[float]:
    """Seconds at which each token was there, from the start; (tokens,)."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 30000, (rows, PROMPT), generator=draw).to(model.device)
    clock = Clock()
    start = time.perf_counter()
    model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
        do_sample=False, eos_token_id=None, pad_token_id=0, stopping_criteria=[*criteria, clock],
    )  # fmt: skip
    return [t - start for t in clock.times]


def measure(model: Any, rows: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Ratio of whole generations, its interval, and milliseconds more a token by position."""
    layers = tuple(middle_layers(model))
    size = len(layers) * model.config.hidden_size
    probe = Probe(layers, torch.randn(size) / size, 0.0)
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    for turn in range(rounds + 1):  # the first warms up
        for guarded in (turn % 2 == 0, turn % 2 == 1):
            criteria = [GuardCriteria(probe, model, np.inf)] if guarded else []
            times = generate(model, rows, tokens, criteria)
            if turn:
                found[guarded].append(times)
    plain, watched = (np.array(found[k]) for k in (False, True))
    ratio = watched[:, -1] / plain[:, -1]
    draws = np.random.default_rng(0).choice(ratio, (2000, len(ratio)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    more = np.diff(np.median(watched, axis=0)) - np.diff(np.median(plain, axis=0))
    parts = np.array_split(more * 1000, 8)
    return {
        "batch": rows, "tokens": tokens, "rounds": rounds, "ratio": float(np.median(ratio)),
        "ci_low": float(low), "ci_high": float(high),
        "ms_a_token": float(np.median(np.diff(plain, axis=1)) * 1000),
        "ms_more_by_eighth": [round(float(np.median(p)), 4) for p in parts],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--shape", default="", choices=["", *SHAPES], help="random weights")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=data_dir() / "measurements")
    given = parser.parse_args()
    model = load(given.model, given.shape, given.dtype, given.device)
    name = given.shape or given.model
    cuda = given.device.startswith("cuda")
    facts = {
        "model": name, "dtype": given.dtype, "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "threads": torch.get_num_threads(), "batches": [],
    }  # fmt: skip
    for rows in given.batch:
        facts["batches"].append(measure(model, rows, given.tokens, given.rounds))
        print(facts["batches"][-1], flush=True)
    write_json(given.out / f"guard_{name}_{given.device.split(':')[0]}.json", facts)


if __name__ == "__main__":
    sys.exit(exit_code(main))
