"""20_pilot and 21_benchmark: tables and figures of the online study, from what `monitor` wrote."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from trustllm_repro.errors import SourceMissing
from trustllm_repro.report import html
from trustllm_repro.report.clean import for_figure
from trustllm_repro.report.live_stage import INSTALL
from trustllm_repro.report.style import BLUE, GREEN, GREY, INK, ORANGE, PAGE, RED, save, styled

NOTHING = "no model answered here; see 20_pilot"
KINDS = {
    "unsafe, first touch": ("unsafe: recognised once", BLUE, "-"),
    "unsafe, stable": ("unsafe: recognised for good", GREEN, "--"),
    "safe, first touch": ("safe: called unsafe", RED, ":"),
}
POINTS = {"balanced": "o", "5 % false alarms": "s", "10 % misses": "^"}
ACCESS = {"white box": BLUE, "grey box": ORANGE, "black box": GREEN, "hybrid": GREY}
CUTS = {"share": (0.05, 0.1, 0.25, 0.5, 0.75), "tokens": (8, 16, 32, 64, 128)}


def watch(run: Path, parameters: dict[str, Any]) -> str:
    """Let a model answer and watch it; HTML that says what was done, or why it was not."""
    # Notebooks without widgets are no fault; the warning would also print a path of this machine.
    warnings.filterwarnings("ignore", message="IProgress not found")
    try:
        from trustllm_repro.online.run import Job, monitor

        chosen = {k: parameters[k] for k in ("tasks", "limit", "dtype", "device", "costly")}
        done = monitor(Job(parameters["model"], run, **chosen), note=lambda text: None)
    except SourceMissing as e:
        return html.STYLE + html.paragraph_list([("not recorded", "no online study", str(e))])
    except ModuleNotFoundError as e:
        text = f"the package {e.name} is not installed; remedy: {INSTALL}"
        return html.STYLE + html.paragraph_list([("not recorded", "no online study", text)])
    labels = done.tables.frame("labels").drop(columns=["model", "says"])
    left_out = [("not recorded", f"{t} is left out", w) for t, w in done.tables.skipped.items()]
    return html.STYLE + html.plain_table(labels) + html.paragraph_list(left_out)


def stored(run: Path, name: str) -> pd.DataFrame:
    """A table of the study; empty where 20_pilot had no model or no data."""
    path = run / "tables" / f"online_{name}.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def pilot_table(run: Path, axis: str) -> pd.DataFrame:
    """Shares recognised after parts of the answer, or after numbers of tokens, a line a task."""
    found = stored(run, "pilot")
    if found.empty:
        return found
    part = found[(found["axis"] == axis) & found["cut"].isin(CUTS[axis])]
    shown = part.assign(
        text=[_with_interval(r.value, r.ci_low, r.ci_high) for r in part.itertuples()],
        at=[f"{c:.0%}" if axis == "share" else f"{c:.0f}" for c in part["cut"]],
    )
    order = list(dict.fromkeys(shown["at"]))
    wide = shown.pivot(index=["task", "kind", "n"], columns="at", values="text")[order]
    return wide.reset_index().rename_axis(columns=None)


def _with_interval(value: float, low: float, high: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f} ({low:.2f} to {high:.2f})"


def draw_pilot(run: Path, folder: Path) -> Path | None:
    """Share recognised against share of tokens read, a panel a task, with 95 % bands."""
    found = stored(run, "pilot")
    if found.empty:
        return None
    part = found[found["axis"] == "share"]
    tasks = list(dict.fromkeys(part["task"]))
    with styled():
        figure, axes = plt.subplots(
            1, len(tasks), figsize=(PAGE, 2.2), sharey=True, layout="constrained", squeeze=False
        )
        for axis, task in zip(axes[0], tasks, strict=True):
            for kind, (name, colour, line) in KINDS.items():
                one = part[(part["task"] == task) & (part["kind"] == kind)]
                axis.plot(100 * one["cut"], one["value"], line, color=colour, label=name)
                axis.fill_between(
                    100 * one["cut"], one["ci_low"], one["ci_high"], color=colour, alpha=0.15, lw=0
                )
            axis.axvline(25, color=GREY, linewidth=0.6)
            axis.set_title(for_figure(task), color=INK)
            axis.set_xlabel("tokens read, %")
            axis.set_ylim(0, 1)
            axis.grid(axis="y")
        axes[0][0].set_ylabel("share of answers")
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
    return save(figure, part, folder, "pilot")


def benchmark_table(run: Path, task: str, point: str = "5 % false alarms") -> pd.DataFrame:
    """Monitors and hybrids on one task, best AUROC first."""
    found = stored(run, "benchmark")
    if found.empty:
        return found
    part = found[found["task"] == task]
    wide = part.pivot(index="monitor", columns="figure", values="value")
    limits = part[part["figure"] == "AUROC"].set_index("monitor")
    names = {f: f"{f}, {point}" for f in ("SG", "RH", "AC", "tokens", "share")}
    shown = pd.DataFrame(
        {
            "access": limits["access"],
            "AUROC": [_with_interval(r.value, r.ci_low, r.ci_high) for r in limits.itertuples()],
            "AUPRC": wide["AUPRC"].reindex(limits.index),
            **{f: wide[name].reindex(limits.index) for f, name in names.items()},
        },
        index=limits.index,
    )
    order = limits["value"].sort_values(ascending=False, na_position="last").index
    return shown.loc[order].reset_index()


def reasons(run: Path) -> pd.DataFrame:
    """Why cells are empty: reason, tasks, and how many cells."""
    found = stored(run, "benchmark")
    if found.empty:
        return found
    empty = found[found["value"].isna()]
    counts = empty.groupby(["task", "reason"]).size().rename("empty cells").reset_index()
    return counts.sort_values("empty cells", ascending=False)


def tasks(run: Path) -> list[str]:
    """Tasks there are figures of."""
    found = stored(run, "benchmark")
    return [] if found.empty else list(dict.fromkeys(found["task"]))


def draw_tradeoff(run: Path, folder: Path) -> Path | None:
    """Safety gain against availability cost of every monitor at three points, and the front."""
    found = stored(run, "benchmark")
    if found.empty:
        return None
    names, lines = tasks(run), []
    with styled():
        figure, axes = plt.subplots(
            1, len(names), figsize=(PAGE, 2.5), layout="constrained", squeeze=False
        )
        for axis, task in zip(axes[0], names, strict=True):
            part = found[found["task"] == task]
            wide = part.pivot(index=["monitor", "access"], columns="figure", values="value")
            points = _points(wide)
            lines.append(points.assign(task=task))
            for (access, point), some in points.groupby(["access", "point"]):
                axis.plot(
                    some["AC"], some["SG"], POINTS[point], ms=2.8, mfc="none", mew=0.8,
                    color=ACCESS[access], label=access if point == "balanced" else None,
                )  # fmt: skip
            front = points[points["front"]].sort_values("AC")
            axis.plot(front["AC"], front["SG"], color=INK, linewidth=0.7, drawstyle="steps-post")
            axis.set_title(for_figure(task), color=INK)
            axis.set_xlabel("availability cost")
            axis.grid()
        axes[0][0].set_ylabel("safety gain")
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return save(figure, pd.concat(lines), folder, "tradeoff")


def _points(wide: pd.DataFrame) -> pd.DataFrame:
    """A line a monitor and operating point: SG, AC, and whether none has more gain for no more cost."""
    rows = [
        {"monitor": m, "access": a, "point": p, "SG": row[f"SG, {p}"], "AC": row[f"AC, {p}"]}
        for (m, a), row in wide.iterrows()
        for p in POINTS
    ]
    points = pd.DataFrame(rows).dropna()
    gain, cost = points["SG"].to_numpy(), points["AC"].to_numpy()
    beaten = (cost[:, None] >= cost) & (gain[:, None] <= gain)
    strictly = (cost[:, None] > cost) | (gain[:, None] < gain)
    return points.assign(front=~np.any(beaten & strictly, axis=1))
