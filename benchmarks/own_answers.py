"""How often the guard that comes with the package stops its own model's answers to harmless questions.

    trustllm-repro monitor --model smollm2-135m --dtype bfloat16 --out RUN --task reasoned ... --quick
    python -m benchmarks.own_answers RUN

Writes data/measurements/own_answers_smollm2-135m.json: answers, and how many are stopped by task
and risk. Nobody rated these answers; the questions are of NQ-open and of three sets of choices.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from tools import exit_code
from trustllm_repro.online.guard.guard import Guard
from trustllm_repro.online.studies.evaluate import open_study
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import write_json

MODEL, TASKS, RISKS = "smollm2-135m", ("wrong_answers", "reasoned"), (0.01, 0.05, 0.10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--limit", type=int, default=120, help="answers a task")
    given = parser.parse_args()
    guard, study = Guard.load(data_dir() / "guards" / "harm-smollm2.guard"), open_study(given.run)
    facts = {"guard": "harm-smollm2.guard", "model": MODEL, "tasks": {}}
    for task in TASKS:
        answers = study.generations(task, MODEL)
        drawn = np.random.default_rng(0).permutation(len(answers))[: given.limit]
        scores = [guard.score(answers[i].prompt, answers[i].trace.text) for i in drawn]
        stopped = {str(r): sum(guard.at(r).alarm(s) > 0 for s in scores) for r in RISKS}
        facts["tasks"][task] = {
            "answers": len(scores), "tokens": float(np.median([len(s) for s in scores])),
            "stopped": stopped,
        }  # fmt: skip
        print(task, facts["tasks"][task], flush=True)
    write_json(data_dir() / "measurements" / f"own_answers_{MODEL}.json", facts)


if __name__ == "__main__":
    sys.exit(exit_code(main))
