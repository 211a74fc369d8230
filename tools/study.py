"""Keep the frames of a long study in the repository: numbers only, in under 3 MB.

    python -m tools.study runs/large [runs/of-another-machine ...]

Puts them into data/online, in the place of those of the same models and tasks: the figures, labels,
quality and pilot curves as they are; per-answer scores of the monitors that the claims name, by the
columns that the criteria read, in half precision.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from tools import exit_code
from trustllm_repro.online.studies import claims
from trustllm_repro.online.studies.evaluate import Study, open_study
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import read_object, write_json

MONITORS = {
    *claims.PANEL, *claims.CHEAP, claims.PROMPT, claims.TEXT_ONLY, claims.FIVE,
    *claims.HYBRIDS, *(member for members in claims.HYBRIDS.values() for member in members),
    "clock",
}  # fmt: skip
SCORES = ["score", "peak", "at_32", "peak_25pct"]


def thin(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows and columns of `scores` that the criteria read, rounded to half precision."""
    left = scores[scores["monitor"].isin(MONITORS)]
    rest = left.select_dtypes("float32").columns.difference(SCORES)
    rounded = {c: left[c].astype("float16").astype("float32") for c in SCORES}
    return left.drop(columns=rest).assign(**rounded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=data_dir() / "online")
    given = parser.parse_args()
    kept, facts = Study(given.out), given.out / "provenance.json"
    for run in given.run:
        study, known = open_study(run), read_object(facts)
        for name in ("figures", "labels", "quality", "pilot", "scores"):
            frame = getattr(study, name)
            path = kept.store(name, thin(frame) if name == "scores" else frame)
            print(f"{path}: {path.stat().st_size:,} bytes")
        for path in sorted(run.glob("online/*/provenance.json")):
            new, old = read_object(path), known.get(path.parent.name, {})
            known[path.parent.name] = new | {"seconds": old.get("seconds", {}) | new["seconds"]}
        write_json(facts, known)


if __name__ == "__main__":
    sys.exit(exit_code(main))
