"""Keep the frames of a long study in the repository: numbers only, in under 3 MB.

    python -m tools.study runs/large [runs/of-another-machine ...]

Writes data/online: the figures, labels, quality and pilot curves as they are; per-answer scores of the
monitors that the claims name, by the columns that the criteria read, in half precision.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from tools import exit_code
from trustllm_repro.online.studies import claims
from trustllm_repro.online.studies.evaluate import open_study
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import write_json

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
    for path in (p for run in given.run for p in sorted(run.glob("online/*/provenance.json"))):
        facts, before = (
            json.loads(path.read_text(encoding="utf-8")),
            known.get(path.parent.name, {}),
        )
        seconds = before.get("seconds", {}) | facts["seconds"]
        known[path.parent.name] = {**facts, "seconds": seconds}
    write_json(given.out / "provenance.json", known)


if __name__ == "__main__":
    sys.exit(exit_code(main))
