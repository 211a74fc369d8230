"""How good the judges are, from stored measurements (no text needed)."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from trustllm_repro.analysis.judge_corrected import left_out, summary
from trustllm_repro.data.benchmark import MINIATURE, open_benchmark
from trustllm_repro.data.published import label
from trustllm_repro.evaluation.read import load_cases, read_cases, tally
from trustllm_repro.judges.registry import judge_error, measured
from trustllm_repro.paths import data_dir
from trustllm_repro.scoring.run import EvaluatedModel
from trustllm_repro.tasks import TASKS

FIGURES = ["n", "accuracy", "kappa", "auroc", "sensitivity", "specificity"]
_HEADS = {
    "by_model": "model left out", "by_task": "task", "by_kind_of_answer": "kind of answer",
    "by_recorded_score": "recorded judge's own certainty",
}  # fmt: skip


def refusal_table(by: str) -> pd.DataFrame:
    """Agreement with the recorded labels on models left out of training, a line a group.

    Args:
        by: "overall", "by_model", "by_task", "by_kind_of_answer" or "by_recorded_score".

    Returns:
        columns: the group, `FIGURES`, unsure (share of unsure judgements; by model only), and
        "kappa, keywords" (of a list of keywords).
    """
    found = measured()["refusal"]
    frame = pd.DataFrame({group: both["judge"] for group, both in found[by].items()}).T
    frame = frame.reindex(columns=FIGURES).astype(float).astype({"n": int})
    if by == "by_model":
        frame["unsure"] = pd.Series(found["unsure"])
    frame["kappa, keywords"] = [both["keywords"]["kappa"] for both in found[by].values()]
    return frame.rename(index=label).rename_axis(_HEADS.get(by, "group")).reset_index()


def left_out_table() -> pd.DataFrame:
    """Raw, corrected and shifted rates of models treated as unlabelled; see judge_corrected."""
    return summary(left_out(measured()["refusal"]["by_task_and_model"]))


def error_table() -> pd.DataFrame:
    """What corrects a rate, per task: sensitivity and specificity, and how far models spread."""
    lines = []
    for task in TASKS.values():
        if task.live and (error := judge_error(task.judge, task.id)):
            line: dict[str, Any] = {"task": task.title}
            for name, side in (
                ("sensitivity", error.sensitivity),
                ("specificity", error.specificity),
            ):
                deviation = math.sqrt(side.mean * (1 - side.mean) / (side.precision + 1))
                line |= {name: side.mean, f"{name}, spread over models": deviation}
            lines.append(line)
    return pd.DataFrame(lines)


def judge_corrected_table(run: EvaluatedModel) -> pd.DataFrame:
    """Raw and judge-corrected rates of a live model, and how many of its judgements are unsure."""
    cells = run.cells[run.cells["judge_corrected"].notna()]
    boards = cells[cells["table"].str.startswith("leaderboard")]
    tasks = {(c.table, c.column): t.id for t in TASKS.values() for c in t.columns}
    of = [tasks[where] for where in zip(boards["table"], boards["column"], strict=True)]
    counts = run.counts().reindex(columns=["task", "answers", "judge_unsure"]).set_index("task")
    unsure = counts["judge_unsure"] / counts["answers"].replace(0, math.nan)
    names = {
        "column": "column", "value": "raw", "ci_low": "low", "ci_high": "high",
        "judge_corrected": "judge-corrected", "judge_corrected_low": "judge-corrected, low",
        "judge_corrected_high": "judge-corrected, high",
    }  # fmt: skip
    frame = boards[list(names)].rename(columns=names).reset_index(drop=True)
    return frame.assign(unsure=unsure.reindex(of).to_numpy(dtype=float))


def agreement_groups() -> dict[str, pd.DataFrame]:
    """Kappa of judge and keyword list: title -> group, kappa and "kappa, keywords"."""
    by = ("by_model", "by_task", "by_recorded_score")
    frames = {_HEADS[b]: refusal_table(b) for b in by}
    return {t: f.rename(columns={f.columns[0]: "group"}) for t, f in frames.items()}


def readings_table() -> pd.DataFrame:
    """How the corrected rule reads answers written for this package (data/readings), by task.

    Columns: task, n, as expected, unparsed, wrong of the test set, and how many of the development
    set, at which the grammar was written, are read otherwise than expected.
    """
    cases = load_cases(data_dir() / "readings" / "cases.json")
    found = read_cases(cases, open_benchmark(MINIATURE))
    test, seen = (tally([c for c in found if c["set"] == s]) for s in ("test", "development"))
    test = test.rename(columns={"acceptable": "as expected"})
    other = (seen["unparsed"] + seen["wrong"]).astype(str) + " of " + seen["n"].astype(str)
    test["development: otherwise"] = test["task"].map(dict(zip(seen["task"], other, strict=True)))
    total = {"task": "all", **test[["n", "as expected", "unparsed", "wrong"]].sum()}
    total["development: otherwise"] = (
        f"{(seen['unparsed'] + seen['wrong']).sum()} of {seen['n'].sum()}"
    )
    return pd.concat([test, pd.DataFrame([total])], ignore_index=True)
