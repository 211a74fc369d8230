"""Judges without recorded labels, held against the published rates of the same answers.

The paper had GPT models judge correctness, correction and sycophancy, and an embedding service
compare answers; none of those labels was recorded, only the rates per model that came of them. So
our judges read the recorded answers, and the rates are compared over the models:

    python -m tools.judges.rates --records ZIP --benchmark ZIP
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from scipy import stats

from tools import exit_code
from trustllm_repro.data.benchmark import load_benchmark
from trustllm_repro.data.published import published
from trustllm_repro.data.recorded import Recorded, load_recorded
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.ledger import Ledger, relabelled
from trustllm_repro.scoring.results import score_cells
from trustllm_repro.store.atomic import write_json
from trustllm_repro.tasks import TASKS

JUDGED = [t for t in TASKS.values() if t.judge not in ("", "refusal", "toxicity")]


def compare(rejudged: Recorded) -> dict[str, Any]:
    """Per published column: both rates of every model, rank correlation and mean distance."""
    cells = score_cells(
        Ledger.of(rejudged, rules=(Rule.CORRECTED,)), published(), (Rule.CORRECTED,)
    )
    wanted = {(c.table, c.column) for t in JUDGED for c in t.columns}
    found: dict[str, Any] = {}
    for (table, column), part in cells.groupby(["table", "column"], sort=False):
        both = part[part["value"].notna() & part["published"].notna()]
        if (table, column) not in wanted or len(both) < 3:
            continue
        rho = stats.spearmanr(both["value"], both["published"])[0]
        found[f"{table}/{column}"] = {
            "models": len(both),
            "spearman": None if math.isnan(rho) else round(float(rho), 3),
            "mean_distance": round(float((both["value"] - both["published"]).abs().mean()), 3),
            "bias": round(float((both["value"] - both["published"]).mean()), 3),
            "rates": {
                line.model: [round(line.value, 4), round(line.published, 4)]
                for line in both.itertuples()
            },
        }
    return found


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--benchmark", type=Path, required=True)
    parser.add_argument(
        "--out", type=Path, default=data_dir() / "measurements" / "judge_rates.json"
    )
    given = parser.parse_args(words)

    def work() -> None:
        recorded = load_recorded(given.records, load_benchmark(given.benchmark))
        write_json(given.out, compare(relabelled(recorded, JUDGED)))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
