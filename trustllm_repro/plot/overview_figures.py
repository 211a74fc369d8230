"""Figures of the overview: heat map of ranks, and mean ranks with intervals."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from trustllm_repro.analysis.audit import published_average_rank
from trustllm_repro.analysis.overview import RankIntervals, leaderboard, rank_intervals, ranks
from trustllm_repro.escape import for_figure
from trustllm_repro.plot.style import BLUE, COLUMN, GREY, INK, PAGE, save, styled
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.run import Run
from trustllm_repro.scoring.tables import label, write_csv


def ranking(run: Run, resamples: int) -> RankIntervals:
    """Compute, draw and store the ranking (authors' rule, so that all models are read alike)."""
    found = rank_intervals(run.ledger, run.cells, Rule.AUTHORS, resamples)
    write_csv(run.path / "tables" / "overview_ranking.csv", found.table)
    heatmap(run, found)
    intervals(run, found)
    return found


def heatmap(run: Run, found: RankIntervals, name: str = "rank_heatmap") -> None:
    """Ranks of 16 models in 31 columns; a dot marks cells recomputed from recorded answers."""
    frame = leaderboard(run.cells, Rule.AUTHORS)
    order = found.table["model"].tolist()
    table = ranks(frame).loc[order]
    cells = run.cells
    done = cells[(cells["rule"] == Rule.AUTHORS) & cells["value"].notna()]
    known = set(zip(done["table"], done["model"], done["column"], strict=True))
    with styled():
        figure, axis = plt.subplots(figsize=(PAGE, 4.1), layout="constrained")
        sns.heatmap(
            table.to_numpy(), ax=axis, cmap="viridis_r", vmin=1, vmax=16, linewidths=0.4,
            linecolor="white", cbar_kws={"label": "rank (1 = best)", "shrink": 0.6, "pad": 0.01},
        )  # fmt: skip
        for i, model in enumerate(order):
            for j, (board, column) in enumerate(table.columns):
                value = table.iat[i, j]
                dark = value > 8
                mark = "•" if (board, model, column) in known else ""
                axis.text(
                    j + 0.5, i + 0.5, f"{value:.0f}{mark}", ha="center", va="center",
                    fontsize=5.2, color="white" if dark else INK,
                )  # fmt: skip
        axis.set_yticks(
            np.arange(len(order)) + 0.5, [for_figure(label(m)) for m in order], rotation=0
        )
        names = [c.replace("Prefereence", "Preference") for _, c in table.columns]
        axis.set_xticks(np.arange(len(names)) + 0.5, names, rotation=55, ha="right", fontsize=6)
        boards = [b for b, _ in table.columns]
        for j in range(1, len(boards)):
            if boards[j] != boards[j - 1]:
                axis.axvline(j, color=INK, linewidth=0.8)
        axis.tick_params(length=0)
    flat = table.copy()
    flat.columns = [f"{b}|{c}" for b, c in flat.columns]
    save(figure, flat.reset_index(names="model"), run.figures, name)


def intervals(run: Run, found: RankIntervals, name: str = "rank_intervals") -> None:
    """Mean rank per model with 95 % interval over items, beside the published average rank."""
    table = found.table.iloc[::-1]
    shown = published_average_rank().reindex(table["model"])
    y = np.arange(len(table))
    with styled():
        figure, axis = plt.subplots(figsize=(COLUMN, 2.7), layout="constrained")
        axis.hlines(y, table["low"], table["high"], color=BLUE, linewidth=2, alpha=0.5)
        axis.plot(table["mean_rank"], y, "o", ms=3, color=BLUE, label="recomputed")
        axis.plot(shown, y, "D", ms=3.6, mfc="white", mec=GREY, label="published average rank")
        axis.set_yticks(y, [for_figure(label(m)) for m in table["model"]])
        axis.set_xlabel("mean rank over 31 columns (1 = best)")
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
        axis.legend(loc="upper right")
    data = table.assign(published=shown.to_numpy())
    save(figure, pd.DataFrame(data), run.figures, name)
