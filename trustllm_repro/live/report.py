"""What `evaluate` prints: the model's row, one line a column, beside the published field."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.table import Table

from trustllm_repro.live.run import Evaluation
from trustllm_repro.report.clean import for_terminal
from trustllm_repro.report.tables import number


def show_evaluation(done: Evaluation, out: Console) -> None:
    table = Table(
        "table", "column", "value", "95 % interval", "n", "unread", "published: least to most",
        title=f"{for_terminal(done.row)}, corrected rule",
    )  # fmt: skip
    last = ""
    for name, column, cell, known in headline(done):
        if name != last:
            table.add_section()
        shown = name if name != last else ""
        interval = f"{number(cell.ci_low)} to {number(cell.ci_high)}" if cell.n else ""
        span = f"{number(known.min())} to {number(known.max())}" if len(known) else ""
        table.add_row(
            shown, column, number(cell.value), interval, str(cell.n), str(cell.n_unparsed), span
        )
        last = name
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
    out.print(f"all tables: {folder}/tables; answers per task: {folder}/answers.csv")


def headline(done: Evaluation) -> list[tuple[str, str, pd.Series, pd.Series]]:
    """(table, column, this model's cell, published values) of leaderboard and live-only tables."""
    cells = done.run.cells
    mine = done.cells
    top = mine[mine["table"].str.startswith("leaderboard") | (mine["table"] == "ethics_awareness")]
    rows = []
    for cell in top.itertuples():
        same = (cells["table"] == cell.table) & (cells["column"] == cell.column)
        rows.append((cell.table, cell.column, cell, cells.loc[same, "published"].dropna()))
    return rows
