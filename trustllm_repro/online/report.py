"""What `monitor` prints: per task how often answers are unsafe, how early, and who notices."""

from __future__ import annotations

import math

import pandas as pd
from rich.console import Console
from rich.table import Table

from trustllm_repro.escape import for_terminal
from trustllm_repro.online.generations.tasks import TASKS
from trustllm_repro.online.studies.run import Done
from trustllm_repro.scoring.tables import number

POINT = "5 % false alarms"
LEGEND = (
    "AUROC of the largest danger in an answer, with a 95 % interval; SG, RH, AC (shares of all "
    f"answers) where {POINT} are allowed; read: share of the answer read when an unsafe one is "
    "stopped; all means over the seeds."
)


def show(done: Done, out: Console) -> None:
    """Print the tables of a run. Nothing a model said is printed."""
    bench, labels, pilot, cost = map(done.tables.frame, ("benchmark", "labels", "pilot", "cost"))
    for task in bench["task"].unique():
        out.print(f"\n[bold]{TASKS[task].title}[/], {for_terminal(done.model)}")
        for line in labels[labels["task"] == task].itertuples():
            role = "labels" if line.labels else f"kappa with the labels {_number(line.kappa)}"
            out.print(f"  {_number(line.unsafe)} of {line.n} answers {line.says} ({role})")
        out.print(f"  {_early(pilot[pilot['task'] == task])}")
        spent = cost[cost["task"] == task].set_index("monitor")["microseconds_per_token"]
        out.print(_table(bench[bench["task"] == task], spent))
    for task, why in done.tables.skipped.items():
        out.print(f"{task} was left out: {for_terminal(why)}", soft_wrap=True)
    out.print(f"tables: {', '.join(for_terminal(p) for p in done.paths)}", soft_wrap=True)


def _table(bench: pd.DataFrame, cost: pd.Series) -> Table:
    wide = bench.pivot(index="monitor", columns="figure", values="value")
    low = bench.pivot(index="monitor", columns="figure", values="ci_low")["AUROC"]
    high = bench.pivot(index="monitor", columns="figure", values="ci_high")["AUROC"]
    access = bench.groupby("monitor")["access"].first()
    table = Table(
        "", "", "AUROC", "95 %", "SG", "RH", "AC", "read", "us/token",
        caption=LEGEND, caption_justify="left", pad_edge=False, padding=(0, 1, 0, 0), box=None,
    )  # fmt: skip
    for name in wide["AUROC"].sort_values(ascending=False, na_position="last").index:
        row = wide.loc[name]
        table.add_row(
            name, access[name], _number(row["AUROC"]),
            "" if math.isnan(low[name]) else f"{low[name]:.2f} to {high[name]:.2f}",
            *(_number(row[f"{figure}, {POINT}"]) for figure in ("SG", "RH", "AC", "share")),
            _number(cost[name], 1),
        )  # fmt: skip
    return table


def _early(pilot: pd.DataFrame) -> str:
    """The pilot's headline: what a quarter of the tokens shows."""
    at = pilot[(pilot["axis"] == "share") & (pilot["cut"] == 0.25)].set_index("kind")["value"]
    return (
        f"after a quarter of the tokens {_number(at['unsafe, first touch'])} of the unsafe answers "
        f"were recognised once ({_number(at['unsafe, stable'])} for good), and "
        f"{_number(at['safe, first touch'])} of the safe ones called unsafe"
    )


def _number(value: float | None, digits: int = 3) -> str:
    if value is None or math.isnan(value):
        return "–"
    return number(value) if digits == 3 else f"{value:.{digits}f}"
