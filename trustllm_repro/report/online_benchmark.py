"""21_benchmark: all monitors compared, from what `monitor` wrote."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from trustllm_repro.escape import for_figure
from trustllm_repro.online.studies.pairs import Ranking, ranking
from trustllm_repro.plot import BLUE, GREEN, GREY, INK, LIGHT, ORANGE, PAGE, styled
from trustllm_repro.report.html import saved
from trustllm_repro.report.online import (
    cells,
    of_cell,
    panels,
    stored,
    summed_up,
    title,
    with_interval,
)

POINTS = {"balanced": "o", "5 % false alarms": "s", "10 % misses": "^"}
ACCESS = {"white box": BLUE, "grey box": ORANGE, "black box": GREEN, "hybrid": GREY}
TRIVIAL = ("always", "never")


def benchmark_table(
    run: Path, model: str, task: str, point: str = "5 % false alarms"
) -> pd.DataFrame:
    """Monitors and hybrids on one model and task, best AUROC first."""
    found = stored(run, "benchmark")
    if found.empty:
        return found
    part = of_cell(found, model, task)
    cost = of_cell(stored(run, "cost"), model, task).set_index("monitor")
    wide = part.pivot(index="monitor", columns="figure", values="value")
    limits = part[part["figure"] == "AUROC"].set_index("monitor")
    names = {f: f"{f}, {point}" for f in ("SG", "RH", "AC", "tokens", "share")}
    shown = pd.DataFrame(
        {
            "access": limits["access"],
            "AUROC": [with_interval(r.value, r.ci_low, r.ci_high) for r in limits.itertuples()],
            "AUPRC": wide["AUPRC"].reindex(limits.index),
            **{f: wide[name].reindex(limits.index) for f, name in names.items()},
            "microseconds a token": cost["microseconds_per_token"].reindex(limits.index),
            "further generations": cost["further_generations"].reindex(limits.index),
        },
        index=limits.index,
    )
    order = limits["value"].sort_values(ascending=False, na_position="last").index
    return shown.loc[order].reset_index()


def reasons(run: Path) -> pd.DataFrame:
    """Why figures are empty: model, task, reason, and how many, over all splits' reasons."""
    found = stored(run, "benchmark")
    if found.empty:
        return found
    empty = found[found["value"].isna()]
    lines = [
        {
            "model": model,
            "task": task,
            "reason": text,
            "empty figures": part["reason"].isin(same).sum(),
        }
        for (model, task), part in empty.groupby(["model", "task"], sort=False)
        for text, same in summed_up(part["reason"].dropna().unique()).items()
    ]
    frame = pd.DataFrame(lines, columns=["model", "task", "reason", "empty figures"])
    return frame.sort_values("empty figures", ascending=False, kind="stable")


def best(run: Path) -> pd.DataFrame:
    """The best monitor of every model and task, and how many are not told apart from it.

    Differences are those of paired tests (online.studies.pairs); q is over all pairs of the cell.
    """
    lines = []
    for model, task in cells(run):
        area = areas(run, hybrids=False).loc[(model, task)].dropna()
        pairs = of_cell(stored(run, "pairs"), model, task)
        if area.empty or pairs.empty:
            continue
        first = area.idxmax()
        mine = pairs[(pairs["monitor"] == first) | (pairs["other"] == first)]
        alike = mine[~(mine["q"] < 0.05)]
        lines.append(
            {
                "model": model, "task": task, "best_monitor": first, "AUROC": area[first],
                "monitors_compared": len(mine) + 1, "not_told_from_it": len(alike),
            }
        )  # fmt: skip
    return pd.DataFrame(lines)


def areas(run: Path, hybrids: bool = True) -> pd.DataFrame:
    """AUROC; a line a model and task, a column a monitor. The trivial monitors are left out."""
    found = stored(run, "benchmark")
    part = found[(found["figure"] == "AUROC") & ~found["monitor"].isin(TRIVIAL)]
    if not hybrids:
        part = part[part["access"] != "hybrid"]
    return part.pivot(index=["model", "task"], columns="monitor", values="value")


def ranks(run: Path) -> Ranking:
    """Mean ranks of the monitors over models and tasks."""
    return ranking(areas(run, hybrids=False))


def draw_monitors(run: Path, folder: Path) -> Path | None:
    """AUROC of every monitor on every model and task, and mean ranks with the critical difference."""
    found = stored(run, "benchmark")
    if found.empty:
        return None
    grid, ranked = areas(run, hybrids=False).T, ranks(run)
    access = found.groupby("monitor")["access"].first()
    mean = grid.mean(axis=1)
    level = access.reindex(grid.index).map(list(ACCESS).index)
    order = pd.DataFrame({"level": level, "mean": -mean}).sort_values(["level", "mean"]).index
    grid = grid.loc[order]
    with styled():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(PAGE, 0.9 + 0.155 * len(grid)), layout="constrained",
            width_ratios=(3, 1), sharey=True,
        )  # fmt: skip
        _heat(left, grid, [title(run, *c) for c in grid.columns])
        for label, name in zip(left.get_yticklabels(), order, strict=True):
            label.set_color(ACCESS[access[name]])
        _rank_dots(right, order, ranked, access)
    flat = grid.stack(["model", "task"]).rename("AUROC").reset_index()
    return saved(
        figure, flat.assign(mean_rank=flat["monitor"].map(ranked.ranks)), folder, "monitors"
    )


def _heat(axis, grid: pd.DataFrame, names: list[str]) -> None:
    axis.imshow(grid, cmap="PuOr_r", vmin=0.1, vmax=0.9, aspect="auto")
    for (i, j), value in np.ndenumerate(grid.to_numpy()):
        dark = abs(value - 0.5) > 0.27
        text = "–" if np.isnan(value) else f"{value:.2f}"
        axis.text(
            j, i, text, ha="center", va="center", fontsize=5.5, color="white" if dark else INK
        )
    axis.set_xticks(
        range(len(names)), [for_figure(n).replace(", ", "\n") for n in names], rotation=0
    )
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(grid)), grid.index)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def _rank_dots(axis, order: pd.Index, ranked: Ranking, access: pd.Series) -> None:
    rank = ranked.ranks.reindex(order)
    axis.hlines(range(len(order)), 0, rank, color=LIGHT, linewidth=0.6)
    axis.scatter(rank, range(len(order)), s=9, c=[ACCESS[access[n]] for n in order], zorder=3)
    if ranked.critical == ranked.critical:  # with one cell there is none
        low = float(ranked.ranks.min())
        axis.axvspan(low, low + ranked.critical, color=LIGHT, alpha=0.5, lw=0, zorder=0)
        axis.set_title(f"critical difference {ranked.critical:.1f}", color=INK)
    axis.set_xlabel(f"mean rank over {ranked.cells}")
    axis.tick_params(left=False)


def draw_tradeoff(run: Path, folder: Path) -> Path | None:
    """Safety gain against availability cost of every monitor at three points, and the front."""
    found, names, lines = stored(run, "benchmark"), cells(run), []
    if not names:
        return None
    with styled():
        figure, axes = panels(len(names), 2.1)
        for axis, (model, task) in zip(axes, names, strict=True):
            part = of_cell(found, model, task)
            points = _points(
                part.pivot(index=["monitor", "access"], columns="figure", values="value")
            )
            lines.append(points.assign(model=model, task=task))
            _scatter(axis, points)
            axis.set_title(for_figure(title(run, model, task)), color=INK)
            axis.set_xlabel("availability cost")
        for axis in axes[::3]:
            axis.set_ylabel("safety gain")
        marks = [
            plt.Line2D([], [], marker="o", ls="", ms=2.8, mfc="none", mew=0.8, color=c, label=a)
            for a, c in ACCESS.items()
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=4)
    return saved(figure, pd.concat(lines), folder, "tradeoff")


def _scatter(axis, points: pd.DataFrame) -> None:
    for (access, point), some in points.groupby(["access", "point"]):
        axis.plot(
            some["AC"], some["SG"], POINTS[point], ms=2.8, mfc="none", mew=0.8,
            color=ACCESS[access],
        )  # fmt: skip
    front = points[points["front"]].sort_values("AC")
    axis.plot(front["AC"], front["SG"], color=INK, linewidth=0.7, drawstyle="steps-post")
    axis.grid()


def front(wide: pd.DataFrame) -> list[str]:
    """Monitors on the front at some operating point, each once."""
    points = _points(wide)
    # A point where nothing is gained and nothing lost is that of no monitor at all.
    on = points[points["front"] & (points["SG"] > 0)]
    return list(dict.fromkeys(on["monitor"]))


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
