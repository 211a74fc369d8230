"""The larger study whose figures are in the repository, in data/online: numbers, no text.

python -m trustllm_repro.online.studies.committed RUN      # a folder `trustllm-repro monitor --out` wrote
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from trustllm_repro.errors import SourceMissing, exit_code
from trustllm_repro.online.studies.tables import TABLES
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import write_json, write_with

PRIVATE = ("audit",)  # of raters, who were not asked


def commit(run: Path, folder: Path | None = None) -> list[Path]:
    """Tables of a run as Parquet, about a tenth of their CSV, and its provenance by model.

    Args:
        folder: default data/online.

    Raises:
        SourceMissing: nothing was watched in that folder. OutputError: it cannot be written.
    """
    folder = folder or data_dir() / "online"
    found = {n: run / "tables" / f"online_{n}.csv" for n in TABLES if n not in PRIVATE}
    found = {n: path for n, path in found.items() if path.exists()}
    if not found:
        raise SourceMissing(
            f"no tables of the online study in {run}", remedy="run `trustllm-repro monitor` first"
        )
    paths = []
    for name, path in found.items():
        frame = pd.read_csv(path)
        target = folder / "tables" / f"online_{name}.parquet"
        write_with(target, lambda p, f=frame: f.to_parquet(p, index=False, compression="zstd"))
        paths.append(target)
    facts = sorted((run / "online").glob("*/provenance.json"))
    models = {p.parent.name: json.loads(p.read_text(encoding="utf-8")) for p in facts}
    write_json(folder / "provenance.json", models)
    return [*paths, folder / "provenance.json"]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    given = parser.parse_args(words)
    return exit_code(lambda: print(*(p.name for p in commit(given.run)), sep="\n"))


if __name__ == "__main__":
    sys.exit(main())
