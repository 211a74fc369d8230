"""What `evaluate` prints: the model's row, one line a column, beside the published field."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from trustllm_repro.data.published import published
from trustllm_repro.escape import for_terminal
from trustllm_repro.evaluation.run import Evaluation
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.tables import number
from trustllm_repro.tasks import COLUMNS

_DIRECTION = {(c.table, c.column): c.better for _, c in COLUMNS}
_ARROWS = {"higher": "↑", "lower": "↓"}
LEGEND = (
    "↑ higher is better, ↓ lower. judge-corrected: for the judge's measured errors. unparsed: without "
    "a verdict, and the value had all of them counted against or for it."
)


def show_evaluation(done: Evaluation, out: Console) -> None:
    theirs = official(done)
    table = Table(
        "", "value", "95 % interval", "judge-corrected", "n", "unparsed", "published",
        *(["toolkit"] if theirs else []),
        title=f"{for_terminal(done.row)}, corrected rule", caption=LEGEND,
        caption_justify="left", pad_edge=False, padding=(0, 1, 0, 0), box=None,
    )  # fmt: skip
    last = ""
    for cell, known in headline(done):
        if cell.table != last:
            table.add_row()
            table.add_row(f"[bold]{cell.table}[/]")
            last = cell.table
        value = theirs.get((cell.table, cell.column), math.nan)
        table.add_row(*line(cell, known), *([number(value)] if theirs else []))
    out.print(table)
    cost, folder = done.cost, for_terminal(done.run.path)
    if cost.answers:
        rate = cost.new_tokens / cost.seconds
        out.print(
            f"{cost.answers:,} answers, {cost.new_tokens:,} new tokens in {cost.seconds:.0f} s "
            f"({rate:.0f} tokens/s)"
        )
    else:
        out.print("all answers were there already; the model was not asked")
    out.print(f"tables: {folder}/tables   answers per task: {folder}/answers.csv", soft_wrap=True)


def line(cell: Any, known: pd.Series) -> list[str]:
    """One column as text; `known` are the published values."""
    corrected = number(cell.judge_corrected)
    if not math.isnan(cell.judge_corrected):
        corrected += f" ({span(cell.judge_corrected_low, cell.judge_corrected_high)})"
    unparsed = str(cell.n_unparsed)
    if cell.n_unparsed and not math.isnan(cell.bound_low):
        unparsed += f" ({span(cell.bound_low, cell.bound_high)})"
    return [
        f"{_ARROWS[_DIRECTION[cell.table, cell.column]]} {cell.column}",
        number(cell.value),
        span(cell.ci_low, cell.ci_high),
        corrected.replace("–", ""),
        str(cell.n),
        unparsed,
        span(known.min(), known.max()) if len(known) else "",
    ]


def span(low: float, high: float) -> str:
    """Two numbers of two digits; nothing where they are not known."""
    return "" if math.isnan(low) or math.isnan(high) else f"{low:.2f} to {high:.2f}"


def official(done: Evaluation) -> dict[tuple[str, str], float]:
    """Values of this model under the toolkit's rule, by table and column; none if it has no such
    row."""
    cells = done.cells[(done.cells["rule"] == Rule.TOOLKIT) & done.cells["value"].notna()]
    return {(c.table, c.column): c.value for c in cells.itertuples()}


def headline(done: Evaluation) -> list[tuple[Any, pd.Series]]:
    """This model's cells of the leaderboards and of tables nobody published, with what is published
    of the same column."""
    cells, mine = done.run.cells, done.cells
    mine = mine[mine["rule"] == Rule.CORRECTED]
    boards = mine["table"].str.startswith("leaderboard")
    top = mine[boards | ~mine["table"].isin(list(published().tables))]
    rows = []
    for cell in top.itertuples():
        same = (cells["table"] == cell.table) & (cells["column"] == cell.column)
        rows.append((cell, cells.loc[same, "published"].dropna()))
    return rows
