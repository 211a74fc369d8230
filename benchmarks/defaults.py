"""What two defaults gain on this machine's CPU: rows of a batch, and `--dtype auto`.

    python -m benchmarks.defaults [--model smollm2-135m]

writes data/measurements/defaults.json: the same short prompts, answered by one process with all
cores in float32 and bfloat16, with 32 rows and with as many as memory holds, in turn.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import generation as bench
from benchmarks.generation import OURS, Contender, Round
from benchmarks.prompts import prompts
from tools import exit_code
from trustllm_repro.errors import SettingsError
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import write_json

TIMED = ("float32", "bfloat16")
FEW, MANY = 32, 0  # rows; 0 is the default, see LocalModel
SIZES = {f"{FEW} rows": FEW, "default rows": MANY}


def measure(
    model: str, *, prompts_asked: int = 128, tokens: int = 32, repeats: int = 3
) -> dict[str, Any]:
    """Times and ratios, medians of rounds in turn; the first is not counted.

    Raises:
        SettingsError: the model is not on this machine. Others as find_model.
    """
    found = find_model(model, dtype="auto", device="cpu")
    if not isinstance(found, LocalModel):
        raise SettingsError("only models on this machine can be timed")
    asked = prompts(prompts_asked)
    base = {"model": str(found.folder), "max_new_tokens": tokens}
    jobs = {
        Contender(f"{dtype}, {name}", OURS, dtype, stock=False): base | {"batch_size": size}
        for dtype in TIMED
        for name, size in SIZES.items()
    }
    with ExitStack() as stack:
        teams = [bench.start(stack, c, job, asked, [[]] * len(asked)) for c, job in jobs.items()]
        rounds = bench.in_turn(teams, repeats, warm_up=1)
        table = bench.table(teams, rounds)
    return {
        "what": "the same answers with other rows and dtypes, models loaded before",
        "contenders": table,
        "ratios": {
            **{f"32 rows over default rows, {d}": _ratio(rounds, f"{d}, 32 rows", f"{d}, default rows")
               for d in TIMED},
            "bfloat16 over float32, default rows":
                _ratio(rounds, "bfloat16, default rows", "float32, default rows"),
        },
        "settings": {
            "model": found.name, "prompts": prompts_asked, "max_new_tokens": tokens,
            "repeats": repeats, "default_rows": LocalModel(found.folder, device="cpu").batch_size,
            "auto": found.identity["dtype"],
        },
        "machine": bench.machine(),
    }  # fmt: skip


def _ratio(rounds: dict[str, list[Round]], one: str, two: str) -> dict[str, float]:
    """Time of one over time of the other, round by round."""
    of = [a.seconds / b.seconds for a, b in zip(rounds[one], rounds[two], strict=True)]
    return {
        "median": round(float(np.median(of)), 2), "min": round(min(of), 2), "max": round(max(of), 2)
    }  # fmt: skip


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    default = data_dir() / "measurements" / "defaults.json"
    parser.add_argument("--out", type=Path, default=default)
    g = parser.parse_args(words)
    return exit_code(
        lambda: write_json(
            g.out,
            measure(g.model, prompts_asked=g.prompts, tokens=g.tokens, repeats=g.repeats),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
