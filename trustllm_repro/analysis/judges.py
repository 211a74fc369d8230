"""How good the judges are: from stored measurements, so no text is needed."""

import math

import pandas as pd

from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.data.published import label
from trustllm_repro.evaluation.judging import load_cases, read_cases, tally
from trustllm_repro.judges.registry import judge_error, measured
from trustllm_repro.paths import data_dir
from trustllm_repro.tasks import TASKS

FIGURES = ["n", "accuracy", "kappa", "auroc", "sensitivity", "specificity"]
_HEADS = {
    "by_model": "model left out", "by_task": "task", "by_kind_of_answer": "kind of answer",
    "by_recorded_score": "recorded judge's own certainty",
}  # fmt: skip


def refusal_table(by: str) -> pd.DataFrame:
    """Agreement with the recorded labels on models left out of training, a line a group; `by`:
    "overall", "by_model", "by_task", "by_kind_of_answer" or "by_recorded_score".

    Columns: the group, `FIGURES`, unsure (share of unsure judgements; by model only), and "kappa,
    keywords" (of a list of keywords).
    """
    found = measured()["refusal"]
    frame = pd.DataFrame({group: both["judge"] for group, both in found[by].items()}).T
    frame = frame.reindex(columns=FIGURES).astype(float).astype({"n": int})
    if by == "by_model":
        frame["unsure"] = pd.Series(found["unsure"])
    frame["kappa, keywords"] = [both["keywords"]["kappa"] for both in found[by].values()]
    return frame.rename(index=label).rename_axis(_HEADS.get(by, "group")).reset_index()


def error_table() -> pd.DataFrame:
    """What corrects a rate, per task: sensitivity and specificity, and how far models spread."""
    lines = []
    for task in TASKS.values():
        if task.live and (error := judge_error(task.judge, task.id)):
            line: dict[str, str | float] = {"task": task.title}
            for name in ("sensitivity", "specificity"):
                side = getattr(error, name)
                variance = side.mean * (1 - side.mean) / (side.precision + 1)
                line |= {name: side.mean, f"{name}, spread over models": math.sqrt(variance)}
            lines.append(line)
    return pd.DataFrame(lines)


def readings_table() -> pd.DataFrame:
    """How the corrected rule reads answers written for this package (data/readings), by task.

    Columns: task, n, as expected, unparsed, wrong of the test set, and how many of the development
    set, at which the grammar was written, are read otherwise than expected.
    """
    cases = load_cases(data_dir() / "readings" / "cases.json")
    found = read_cases(cases, load_benchmark(MINIATURE))
    test, seen = (
        tally([c for c in found if c["set"] == s]).set_index("task")
        for s in ("test", "development")
    )
    test.loc["all"], seen.loc["all"] = test.sum(), seen.sum()
    other = (seen["unparsed"] + seen["wrong"]).astype(str) + " of " + seen["n"].astype(str)
    test = test.rename(columns={"acceptable": "as expected"})
    return test.assign(**{"development: otherwise": other}).reset_index()
