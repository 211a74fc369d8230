"""How one evaluated model stands beside the published field."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from trustllm_repro.analysis.overview import LOWER, leaderboard
from trustllm_repro.scoring.evaluated import EvaluatedModel


def facts(run: EvaluatedModel) -> pd.DataFrame:
    """What the run folder says of the model and of how it was asked; "not kept" where it does not."""
    known = run.facts
    settings = known.get("settings", {})
    asked = settings.get("settings", {})
    counts = run.counts()
    generation = known.get("generation", {})
    lines = {
        "rows": ", ".join(run.rows),
        "weights, sha256": str(known.get("model", {}).get("weights", "not kept"))[:16],
        "dtype": known.get("dtype", "not kept"),
        "benchmark": settings.get("benchmark", "not kept"),
        "items asked": f"{int(counts['items'].sum()):,}" if len(counts) else "not kept",
        "limit per task": asked.get("limit") or "none",
        "longest answer": f"{asked.get('max_new_tokens', 'not kept')} tokens",
        "system message": _system(known.get("model", {}), asked),
        "drawn at temperature 1": _sampling(known.get("model", {}), asked),
        "seconds of generation": f"{generation['seconds']:,.0f}, {generation.get('sittings', 1)} "
        "sittings"
        if "seconds" in generation
        else "not kept",
        "new tokens": f"{generation['new_tokens']:,}" if "new_tokens" in generation else "not kept",
        "judges": _judges(known),
    }
    return pd.DataFrame({"what": lines.keys(), "here": [str(v) for v in lines.values()]})


def _system(model: dict[str, Any], asked: dict[str, Any]) -> str:
    """What stood before the questions."""
    if "endpoint" in model:
        return "none sent; the server may add one"
    if model.get("template") == "none":
        return "none: no chat template"
    return {"blank": "blank", "default": "the chat template's"}.get(
        asked.get("system", ""), "not kept"
    )


def _sampling(model: dict[str, Any], asked: dict[str, Any]) -> str:
    """From what tokens were drawn."""
    if "endpoint" in model:
        return "as the server does"
    if "sampling" not in asked:
        return "not kept"
    filters = ", ".join(f"{n} {v}" for n, v in model.get("sampling", {}).items())
    return f"by its generation config: {filters}" if filters else "from the whole softmax"


def _judges(facts: dict[str, Any]) -> str:
    """Names of the judges, with the first letters of their digests."""
    found = facts.get("judges", {})
    names = {re.sub(r"([0-9a-f]{8})[0-9a-f]{8,}", r"\1", str(v)) for v in found.values()}
    return "; ".join(sorted(names)) or "not kept"


def standing(run: EvaluatedModel) -> pd.DataFrame:
    """One line per leaderboard column: the model's value and its place among the published models.

    Columns: table, column, better, value, ci_low, ci_high, likelihood, median, place, of, quantile.
    `place` 1 is best among the published models and this one; `quantile` is the share of published
    models it is at least as good as. Published values are those of the paper, whose rules differ
    in places from the corrected one (17_audit): a place is an orientation, not a test.
    """
    field = leaderboard().rename_axis(columns=["table", "column"])
    generated = next((r for r in run.rows if "likelihood" not in r), "")
    second = next((r for r in run.rows if "likelihood" in r), "")
    own, other = (
        run.cells[run.cells["model"] == row].set_index(["table", "column"]).reindex(field.columns)
        for row in (generated, second)
    )
    lower = field.columns.get_level_values("column").isin(LOWER)
    lines = pd.DataFrame(
        {
            "better": np.where(lower, "lower", "higher"),
            **{n: own[n] for n in ("value", "ci_low", "ci_high")},
            "likelihood": other["value"],
            "median": field.median(),
        }
    )
    return lines.join(_places(own["value"], field, lower)).reset_index()


def _places(values: pd.Series, field: pd.DataFrame, lower: np.ndarray) -> pd.DataFrame:
    """Place, number of those placed and quantile of one value a column of the field."""
    sign, known = np.where(lower, 1, -1), field.notna().sum()
    placed = values.notna() & (known > 0)
    ahead = (field * sign).lt(values * sign).sum().astype(float).where(placed)
    return pd.DataFrame(
        {"place": ahead + 1, "of": (known + placed).astype(float), "quantile": 1 - ahead / known}
    )
