"""19_my_model: how one live model stands beside the published field."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from trustllm_repro.analysis.live import LiveRun
from trustllm_repro.analysis.overview import LEADERBOARDS, LOWER, leaderboard
from trustllm_repro.data.published import published
from trustllm_repro.escape import for_figure
from trustllm_repro.plot.style import BLUE, GREY, INK, LIGHT, ORANGE, PAGE, save, styled
from trustllm_repro.report.live_html import ARROWS


def facts(run: LiveRun) -> pd.DataFrame:
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


def standing(run: LiveRun) -> pd.DataFrame:
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


def draw(run: LiveRun, folder: Path) -> Path:
    """Dots of the published models and a diamond with interval of this one, a line per column."""
    found = standing(run)
    field = leaderboard()
    parts = [(t, found[found["table"] == t]) for t in LEADERBOARDS]
    heights = [len(p) for _, p in parts]
    with styled():
        figure, axes = plt.subplots(
            len(parts), 1, figsize=(PAGE, 1.0 + 0.2 * sum(heights)), sharex=True,
            layout="constrained", gridspec_kw={"height_ratios": heights},
        )  # fmt: skip
        for axis, (table, part) in zip(axes, parts, strict=True):
            _strip(axis, part, field, table)
        axes[-1].set_xlabel("value")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4)
        figure.suptitle(for_figure(run.rows[0]) if run.rows else "", fontsize=8, color=INK)
    return save(figure, found, folder, "report_card")


def _strip(axis: Any, part: pd.DataFrame, field: pd.DataFrame, table: str) -> None:
    y = np.arange(len(part))[::-1]
    for at, line in zip(y, part.itertuples(), strict=True):
        known = field[table, line.column].dropna()
        axis.hlines(at, known.min(), known.max(), color=LIGHT, linewidth=1)
        axis.plot(
            known, np.full(len(known), at), "o", ms=2.6, color=GREY, alpha=0.55, mew=0,
            label="published models" if at == y[0] else None,
        )  # fmt: skip
    axis.plot(part["median"], y, "|", ms=7, color=INK, mew=0.9, label="their median")
    axis.hlines(y, part["ci_low"], part["ci_high"], color=BLUE, linewidth=2, alpha=0.5)
    axis.plot(part["value"], y, "D", ms=4.2, color=BLUE, label="this model (95 % interval)")
    axis.plot(
        part["likelihood"], y, "x", ms=4.4, mew=1.1, color=ORANGE, label="by likelihood of options"
    )
    axis.set_yticks(
        y, [f"{c} {ARROWS[b]}" for c, b in zip(part["column"], part["better"], strict=True)]
    )
    axis.set_title(published().tables[table].dimension, loc="left", color=INK)
    axis.set_ylim(-0.6, len(part) - 0.4)
    axis.grid(axis="x")
    axis.tick_params(axis="y", length=0)


def extremes(found: pd.DataFrame, n: int = 4) -> list[tuple[str, str, str]]:
    """Where the model stands highest and lowest in the field, as (tag, heading, text)."""
    ordered = found[found["quantile"].notna()].sort_values("quantile", kind="stable")
    lines = []
    for tag, head, part in (
        ("high", "among the best", ordered.iloc[::-1].head(n)),
        ("low", "among the weakest", ordered.head(n)),
    ):
        for line in part.itertuples():
            known = not math.isnan(line.ci_low)
            interval = f" [{line.ci_low:.3f}, {line.ci_high:.3f}]" if known else ""
            text = (
                f"{line.value:.3f}{interval}; place {line.place:.0f} of {line.of:.0f}; median of "
                f"the published models {line.median:.3f} ({line.better} is better)"
            )
            lines.append((tag, f"{line.column}, {head}", text))
    return lines
