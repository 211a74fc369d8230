"""How good the judges are, and whether correcting a rate for a judge's errors helps: from stored
measurements, so no text is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from trustllm_repro.analysis.compare import tasks_behind
from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.data.published import label
from trustllm_repro.evaluation.judging import load_cases, read_cases, tally
from trustllm_repro.judges.registry import counts_of, judge_error, measured
from trustllm_repro.metrics.base import wilson
from trustllm_repro.metrics.judge_error import MIN_MODELS, JudgeError, judge_corrected
from trustllm_repro.metrics.measures import REFUSED
from trustllm_repro.parsers.base import ANSWER, REFUSAL
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import Status
from trustllm_repro.scoring.run import EvaluatedModel
from trustllm_repro.tasks import TASKS

FIGURES = ["n", "accuracy", "kappa", "auroc", "sensitivity", "specificity"]
_HEADS = {
    "by_model": "model left out", "by_task": "task", "by_kind_of_answer": "kind of answer",
    "by_recorded_score": "recorded judge's own certainty",
}  # fmt: skip
_SEED = 20240110


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


def judge_corrected_table(run: EvaluatedModel) -> pd.DataFrame:
    """Raw and judge-corrected rates of a live model, and how many of its judgements are unsure."""
    cells = run.cells[run.cells["judge_corrected"].notna()]
    boards = cells[cells["table"].str.startswith("leaderboard")]
    of = tasks_behind(boards)
    counts = run.counts().reindex(columns=["task", "answers", "judge_unsure"]).set_index("task")
    unsure = counts["judge_unsure"] / counts["answers"].replace(0, math.nan)
    names = {
        "column": "column", "value": "raw", "ci_low": "low", "ci_high": "high",
        "judge_corrected": "judge-corrected", "judge_corrected_low": "judge-corrected, low",
        "judge_corrected_high": "judge-corrected, high",
    }  # fmt: skip
    frame = boards[list(names)].rename(columns=names).reset_index(drop=True)
    return frame.assign(unsure=unsure.reindex(of).to_numpy(dtype=float))


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


def left_out(counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> pd.DataFrame:
    """Rates of refusals by task and model, each corrected by the other models alone, as a live model's
    is, beside the rate of the recorded labels.

    The judge's labels are those of a fit that saw no answer of that model. Correction by sensitivity
    and specificity (Rogan and Gladen 1978) supposes that a model's share of refusals tells nothing
    about how well they are recognised. Where models that refuse more are also judged with a higher
    sensitivity, that fails: the raw rate's errors cancel out.

    Args:
        counts: task -> model -> tp, fp, fn and tn, as `refusal.by_task_and_model` of judges.json.
            Tasks with MIN_MODELS models or fewer are left out, and models whose rate cannot be
            corrected.

    Returns:
        columns task, model, n (answers with a recorded label), recorded (their rate), value, ci_low
        and ci_high; and estimate: "raw" (rate by our judge, with its Wilson interval) or
        "judge-corrected" (for the errors seen on the other models).
    """
    rows = []
    for task, models in sorted(counts.items()):
        for model, mine in sorted(models.items() if len(models) > MIN_MODELS else ()):
            others = [models[m] for m in sorted(models) if m != model]
            error = JudgeError.of(REFUSAL, counts_of(others))
            n, said = sum(mine.values()), mine["tp"] + mine["fp"]
            labels = [REFUSAL] * said + [ANSWER] * (n - said)
            judged = pd.DataFrame({"label": labels, "status": str(Status.PARSED)})
            corrected = judge_corrected(REFUSED, judged, error, _SEED) if error else None
            if corrected is None:
                continue
            about = task, model, n, (mine["tp"] + mine["fn"]) / n
            rows.append((*about, "raw", said / n, *wilson(said, n)))
            rows.append((*about, "judge-corrected", *corrected))
    columns = ["task", "model", "n", "recorded", "estimate", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def summary(rates: pd.DataFrame) -> pd.DataFrame:
    """A line per task and one for all, from `left_out`.

    Columns: task, models, and for each estimate "<estimate>, distance" (mean distance to the
    recorded rate), "holds" (share of intervals that hold it) and "width" (mean, of intervals).
    """
    if rates.empty:
        return pd.DataFrame()
    if rates["task"].nunique() > 1:
        rates = pd.concat([rates, rates.assign(task="all")])
    # Ends of intervals are computed, so they may be off by rounding.
    holds = rates["recorded"].between(rates["ci_low"] - 1e-9, rates["ci_high"] + 1e-9)
    figures = rates.assign(
        distance=(rates["value"] - rates["recorded"]).abs(),
        holds=holds,
        width=rates["ci_high"] - rates["ci_low"],
    )
    means = figures.groupby(["task", "estimate"], sort=False)[["distance", "holds", "width"]].mean()
    table = means.stack().unstack(["estimate", None])
    table.columns = [", ".join(column) for column in table.columns]
    models = rates[rates["estimate"] == "raw"].groupby("task", sort=False).size()
    table.insert(0, "models", models)
    return table.loc[models.index].reset_index()
