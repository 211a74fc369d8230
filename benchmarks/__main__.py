"""Time the replay, or the generation of answers, against other ways; interleaved repeats.

    python -m benchmarks --benchmark dataset.zip --records recorded.zip
    python -m benchmarks --benchmark dataset.zip --model smollm2-135m

Writes data/measurements/replay.json and generation.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from tools import exit_code
from trustllm_repro.paths import data_dir


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--benchmark", required=True, help="ZIP or folder of the benchmark")
    parser.add_argument("--records", type=Path, help="time the replay of these recorded answers")
    parser.add_argument("--model", default="", help="time this model against other ways to run it")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats")
    parser.add_argument("--per-task", type=int, default=3, help="prompts a task (with --model)")
    parser.add_argument("--max-new-tokens", type=int, default=64, help="longest answer")
    parser.add_argument("--out", type=Path, default=data_dir() / "measurements")
    given = parser.parse_args(words)
    if not given.records and not given.model:
        parser.error("nothing to time: give --records, --model, or both")
    if given.records:
        from benchmarks.replay import measure

        facts = measure(
            given.records, Path(given.benchmark), given.repeats, given.out / "replay.json"
        )
        print(pd.DataFrame(facts["seconds"]).T)
        print(f"raw answers over ledger: {facts['ratio_raw_over_ledger']:.2f}")
    if given.model:
        from benchmarks.generation import measure as measure_generation

        facts = measure_generation(
            given.model, given.benchmark, given.out / "generation.json", per_task=given.per_task,
            max_new_tokens=given.max_new_tokens, repeats=given.repeats, say=print,
        )  # fmt: skip
        print(pd.DataFrame({k: v["seconds"] for k, v in facts["contenders"].items()}).T)
        print("times as long as ours:", pd.DataFrame(facts["ratios"]).T, sep="\n")


if __name__ == "__main__":
    sys.exit(exit_code(main))
