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

_ARROWS = {"higher": "↑", "lower": "↓"}
_ARROW = {(c.table, c.column): _ARROWS[c.better] for _, c in COLUMNS}
LEGEND = (
    "↑ higher is better, ↓ lower. judge-corrected: for the judge's measured errors. unparsed: "
    "answers without a verdict, and the value had all of them counted against or for it."
)


def show_evaluation(done: Evaluation, out: Console) -> None:
    """Print the row of a model, its cost, and where its files lie."""
    frame = headline(done)
    both = frame["toolkit"].notna().any()
    table = Table(
        "", "value", "95 % interval", "judge-corrected", "n", "unparsed", "published",
        *(["toolkit"] if both else []),
        title=f"{for_terminal(done.row)}, corrected rule", caption=LEGEND,
        caption_justify="left", pad_edge=False, padding=(0, 1, 0, 0), box=None,
    )  # fmt: skip
    for name, cells in frame.groupby("table", sort=False):
        table.add_row()
        table.add_row(f"[bold]{name}[/]")
        for cell in cells.itertuples():
            table.add_row(*line(cell), *([number(cell.toolkit)] if both else []))
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


def line(cell: Any) -> list[str]:
    """One column of `headline` as text."""
    corrected = ""
    if not math.isnan(cell.judge_corrected):
        interval = span(cell.judge_corrected_low, cell.judge_corrected_high)
        corrected = f"{number(cell.judge_corrected)} ({interval})"
    unparsed = str(cell.n_unparsed)
    if cell.n_unparsed and not math.isnan(cell.bound_low):
        unparsed += f" ({span(cell.bound_low, cell.bound_high)})"
    return [
        f"{_ARROW[cell.table, cell.column]} {cell.column}", number(cell.value),
        span(cell.ci_low, cell.ci_high), corrected, str(cell.n), unparsed,
        span(cell.lowest, cell.highest),
    ]  # fmt: skip


def span(low: float, high: float) -> str:
    """Two numbers of two digits; nothing where they are not known."""
    return "" if math.isnan(low) or math.isnan(high) else f"{low:.2f} to {high:.2f}"


def headline(done: Evaluation) -> pd.DataFrame:
    """This model's cells of the leaderboards and of tables nobody published, corrected rule.

    Beside the columns of `Run.cells`: lowest and highest (of the published values of the same
    column) and toolkit (the model's value under that rule).
    """
    keys = ["table", "column"]
    known = done.run.cells.groupby(keys)["published"].agg(lowest="min", highest="max")
    mine, toolkit = (done.cells[done.cells["rule"] == r] for r in (Rule.CORRECTED, Rule.TOOLKIT))
    boards = mine["table"].str.startswith("leaderboard")
    top = mine[boards | ~mine["table"].isin(list(published().tables))]
    theirs = toolkit.set_index(keys)["value"].rename("toolkit")
    return top.join(known, on=keys).join(theirs, on=keys)
