"""Keep the frames of a long study in the repository: numbers only, in under 3 MB.

    python -m tools.study runs/large [runs/of-another-machine ...]
    python -m tools.study data/online runs/of-another-task  # what is kept, and more

Writes data/online: the figures, labels, quality and pilot curves as they are; per-answer scores of the
monitors that the claims name, by the columns that the criteria read, in half precision.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from tools import exit_code
from trustllm_repro.online.studies import claims
from trustllm_repro.online.studies.evaluate import open_study
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


def provenances(run: Path) -> dict[str, dict[str, Any]]:
    """By model; of a run, or of frames that this program has written."""
    if not (run / "online").is_dir():
        return read_object(run / "provenance.json")
    files = sorted(run.glob("online/*/provenance.json"))
    return {path.parent.name: read_object(path) for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=data_dir() / "online")
    given = parser.parse_args()
    studies = [open_study(run) for run in given.run]
    given.out.mkdir(parents=True, exist_ok=True)
    for name in ("figures", "labels", "quality", "pilot", "scores"):
        parts = [getattr(s, name) for s in studies]
        words = {c: "str" for c in parts[0].select_dtypes("category")}
        frame = pd.concat([part.astype(words) for part in parts]).astype(
            dict.fromkeys(words, "category")
        )
        frame = thin(frame) if name == "scores" else frame
        path = given.out / f"online_{name}.parquet"
        frame.to_parquet(path, index=False, compression="zstd", compression_level=19)
        print(f"{path}: {len(frame):,} rows, {path.stat().st_size:,} bytes")
    known: dict[str, dict[str, Any]] = {}
    for model, facts in (pair for run in given.run for pair in provenances(run).items()):
        seconds = known.get(model, {}).get("seconds", {}) | facts["seconds"]
        known[model] = {**facts, "seconds": seconds}
    write_json(given.out / "provenance.json", known)


if __name__ == "__main__":
    sys.exit(exit_code(main))
