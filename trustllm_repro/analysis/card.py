"""How one evaluated model stands beside the published field."""

from __future__ import annotations

import math
import re
from typing import Any

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
    field = leaderboard()
    cells = {name: run.cells[run.cells["model"] == name] for name in run.rows}
    generated = next((c for n, c in cells.items() if "likelihood" not in n), pd.DataFrame())
    second = next((c for n, c in cells.items() if "likelihood" in n), pd.DataFrame())
    lines = []
    for table, column in field.columns:
        known = field[table, column].dropna()
        line = _one(generated, table, column)
        other = _one(second, table, column)
        value = line.get("value", math.nan)
        lines.append(
            {
                "table": table,
                "column": column,
                "better": "lower" if column in LOWER else "higher",
                "value": value,
                "ci_low": line.get("ci_low", math.nan),
                "ci_high": line.get("ci_high", math.nan),
                "likelihood": other.get("value", math.nan),
                "median": float(known.median()),
                **_place(value, known, column in LOWER),
            }
        )
    return pd.DataFrame(lines)


def _one(cells: pd.DataFrame, table: str, column: str) -> dict[str, Any]:
    if cells.empty:
        return {}
    found = cells[(cells["table"] == table) & (cells["column"] == column)]
    return found.iloc[0].to_dict() if len(found) else {}


def _place(value: float, known: pd.Series, lower: bool) -> dict[str, float]:
    if math.isnan(value) or known.empty:
        return {"place": math.nan, "of": float(len(known)), "quantile": math.nan}
    ahead = int((known < value).sum() if lower else (known > value).sum())
    return {
        "place": float(ahead + 1),
        "of": float(len(known) + 1),
        "quantile": 1 - ahead / len(known),
    }


def extremes(standing: pd.DataFrame, n: int = 4) -> pd.DataFrame:
    """The n columns in which a model stands highest and lowest in the field, best first.

    Columns: column, better, value, ci_low, ci_high, place, of, median.
    """
    names = ["column", "better", "value", "ci_low", "ci_high", "place", "of", "median"]
    ordered = standing[standing["quantile"].notna()].sort_values(
        "quantile", ascending=False, kind="stable"
    )
    ends = pd.concat([ordered.head(n), ordered.tail(n)])
    return ends.loc[~ends.index.duplicated(), names].reset_index(drop=True)
