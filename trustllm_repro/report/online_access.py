"""22_closed_access: which monitors run at each level of access, and what the lower levels cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from trustllm_repro.escape import for_figure
from trustllm_repro.metrics.comparisons import benjamini_hochberg
from trustllm_repro.online.monitors.base import Access, all_monitors
from trustllm_repro.online.studies.levels import LEVELS, PROBABILITIES, TOP5
from trustllm_repro.plot import BLUE, GREY, INK, ORANGE, styled
from trustllm_repro.report import html, online
from trustllm_repro.report.html import saved
from trustllm_repro.report.online import of_cell, panels, stored, title, with_interval
from trustllm_repro.report.online_benchmark import TRIVIAL

NO_ENDPOINT = "no endpoint was given: the levels are those of the models of 20_pilot, masked"


def watch(run: Path, parameters: dict[str, Any]) -> str:
    """Watch the endpoint that was given, if one was; HTML as online.watch."""
    if not parameters["endpoint"]:
        return html.STYLE + html.note(NO_ENDPOINT)
    asked = {"limit": parameters["limit"], "allowed": "one answer"}
    return online.watch(run, [parameters["endpoint"]], **asked)


def declared() -> pd.DataFrame:
    """How many of the package's monitors run at each level, by what they look at, and why not all."""
    monitors = [m for n, m in all_monitors().items() if n not in TRIVIAL]
    lines = []
    for level in LEVELS:
        some = [m for m in monitors if not level.why_not(m)]
        kinds = {str(a): sum(m.access is a for m in some) for a in reversed(Access)}
        needs = frozenset().union(*(m.needs for m in monitors))
        why = dict.fromkeys(reason for need, reason in level.lacks.items() if need in needs)
        lines.append(
            {
                "level": level.name, **kinds, "monitors that run": len(some), "of": len(monitors),
                "why not the others": "; ".join(why),
            }
        )  # fmt: skip
    return pd.DataFrame(lines)


def _access(run: Path) -> pd.DataFrame:
    found = stored(run, "access")
    return found if found.empty else found[~found["monitor"].isin(TRIVIAL)]


def counts(run: Path) -> pd.DataFrame:
    """Monitors tried and run at each level, and those whose interval lies above a half."""
    found = _access(run)
    if found.empty:
        return found
    found = found.assign(above=found["ci_low"] > 0.5)
    table = found.groupby(["model", "task", "level"], sort=False)
    table = table.agg(tried=("runs", "size"), run=("runs", "sum"), above=("above", "sum"))
    return table.reset_index().rename(columns={"above": "interval above 0.5"})


def best(run: Path) -> pd.DataFrame:
    """The monitor of the largest AUROC at each level; a line a model and task."""
    found = _access(run)
    if found.empty:
        return found
    known = found.dropna(subset="value")
    top = known.loc[known.groupby(["model", "task", "level"], sort=False)["value"].idxmax()]
    shown = top.assign(
        text=[
            f"{with_interval(r.value, r.ci_low, r.ci_high)} {r.monitor}" for r in top.itertuples()
        ]
    )
    wide = shown.pivot(index=["model", "task"], columns="level", values="text")
    wide = wide.reindex(columns=[x.name for x in LEVELS if x.name in wide.columns])
    return wide.fillna("–").reset_index().rename_axis(columns=None)


def losses(run: Path) -> pd.DataFrame:
    """What grey-box monitors lose with five log-probabilities; q is over all lines of the table."""
    found = _access(run)
    if found.empty:
        return found
    part = found[(found["level"] == TOP5.name) & found["changed"]]
    keys = ["model", "task", "monitor"]
    whole = found[found["level"] == PROBABILITIES.name].set_index(keys)
    less = part.set_index(keys)
    shown = pd.DataFrame(
        {
            name: [with_interval(*x) for x in of[["value", "ci_low", "ci_high"]].to_numpy()]
            for name, of in (
                (PROBABILITIES.name, whole.reindex(less.index)), (TOP5.name, less),
            )
        },
        index=less.index,
    )  # fmt: skip
    q = benjamini_hochberg(less["p"].tolist())
    return shown.assign(loss=less["loss"], p=less["p"], q=q).reset_index()


def draw(run: Path, folder: Path) -> Path | None:
    """AUROC of grey-box monitors with all probabilities and with five, a panel a model and task.

    Those that do not run with five (perturbations) are left out.
    """
    found = _access(run)
    if found.empty or PROBABILITIES.name not in set(found["level"]):
        return None
    five = found[(found["level"] == TOP5.name) & found["runs"]]["monitor"]
    part = found[
        (found["access"] == str(Access.GREY))
        & found["monitor"].isin(five)
        & found["level"].isin([TOP5.name, PROBABILITIES.name])
        & found["value"].notna()
    ]
    whole = part[part["level"] == PROBABILITIES.name]
    cells = list(dict.fromkeys(zip(whole["model"], whole["task"], strict=True)))
    rows = list(dict.fromkeys(whole["monitor"]))[::-1]
    with styled():
        figure, axes = panels(len(cells), 0.75 + 0.17 * len(rows), sharey=True, sharex=True)
        for axis, (model, task) in zip(axes, cells, strict=True):
            _dumbbells(axis, of_cell(part, model, task), rows)
            axis.set_title(for_figure(title(run, model, task)), color=INK)
            axis.set_xlabel("AUROC")
        handles, words = axes[0].get_legend_handles_labels()
        figure.legend(handles, words, loc="outside lower center", ncols=2)
    return saved(figure, part, folder, "closed_access")


def _dumbbells(axis: Axes, part: pd.DataFrame, rows: list[str]) -> None:
    """All probabilities above, five below; a monitor that reads the same at both stands once."""
    by = {name: part[part["level"] == name].set_index("monitor") for name in set(part["level"])}
    whole, less = by[PROBABILITIES.name], by.get(TOP5.name, part[:0].set_index("monitor"))
    for frame, shift, colour, mark in ((whole, 0.16, BLUE, "o"), (less, -0.16, ORANGE, "s")):
        changed = [m for m in frame.index if m in less.index and less.at[m, "changed"]]
        some = frame.loc[changed if frame is less else frame.index]
        y = [rows.index(m) + (shift if m in changed else 0) for m in some.index]
        axis.hlines(y, some["ci_low"], some["ci_high"], color=colour, linewidth=1.2, alpha=0.45)
        name = PROBABILITIES.name if frame is whole else "five a token, where that is less"
        axis.plot(some["value"], y, mark, ms=3, color=colour, label=name)
    axis.axvline(0.5, color=GREY, linewidth=0.6)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x")
