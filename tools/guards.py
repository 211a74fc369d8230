"""Fit the guard that comes with the package: SmolLM2's states while it reads answers people rated.

    python -m tools.guards

Writes data/guards/harm-smollm2.guard and prints its operating points.
"""

from __future__ import annotations

import sys

import pandas as pd

from tools import exit_code
from trustllm_repro.online.generations.tasks import TASKS
from trustllm_repro.online.guard.guard import Guard
from trustllm_repro.paths import data_dir

MODEL, DTYPE = "smollm2-135m", "bfloat16"
CARD = {
    "data": "1,177 answers to 507 harmful or harmless goals, from the scorer evaluations of the "
    "wheel pyrit 1.1.0 (MIT); none is this model's own.",
    "labels": "Unsafe: the mean rating of the people who read the answer is at least 0.5 of 1. One "
    "rater against two others has AUROC .917, so no guard can look better than that.",
    "for": "Research on stopping a generation early. It reads English answers to single requests, "
    "in this model's chat template, of at most 256 tokens.",
    "not for": "Protection of anybody. It misses more than half of the unsafe answers; attacks, "
    "other languages, other kinds of harm, conversations and other models were not measured.",
}


def main() -> None:
    examples = pd.DataFrame(TASKS["harm"].take(0))[["prompt", "answer", "unsafe"]]
    guard = Guard.fit(MODEL, examples, dtype=DTYPE, device="cpu", card=CARD)
    path = guard.save(data_dir() / "guards" / "harm-smollm2.guard")
    print(guard.operating_points.to_string(index=False))
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(exit_code(main))
