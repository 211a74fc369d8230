"""How good the judges are, from stored measurements (no text needed)."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from trustllm_repro.analysis.judge_corrected import left_out, summary
from trustllm_repro.data.benchmark import MINIATURE, open_benchmark
from trustllm_repro.data.published import label
from trustllm_repro.evaluation.read import load_cases, read_cases, tally
from trustllm_repro.judges.errors import judge_error, measured
from trustllm_repro.paths import data_dir
from trustllm_repro.scoring.evaluated import EvaluatedModel
from trustllm_repro.tasks import TASKS

FIGURES = ("n", "accuracy", "kappa", "auroc", "sensitivity", "specificity")


def refusal_table(by: str) -> pd.DataFrame:
    """Agreement with the recorded labels on models left out of training, a line a group.

    Args:
        by: "overall", "by_model", "by_task", "by_kind_of_answer" or "by_recorded_score".
    """
    found = measured()["refusal"]
    lines = []
    for group, both in found[by].items():
        judge = both["judge"]
        line = {_HEADS.get(by, "group"): label(group), **{k: judge.get(k) for k in FIGURES}}
        if by == "by_model":
            line["unsure"] = found.get("unsure", {}).get(group, math.nan)
        lines.append(line | {"kappa, keywords": both["keywords"]["kappa"]})
    frame = pd.DataFrame(lines)
    floats = [c for c in frame.columns if c in {*FIGURES, "kappa, keywords", "unsure"} - {"n"}]
    frame[floats] = frame[floats].astype(float)
    return frame


_HEADS = {"by_model": "model left out", "by_task": "task", "by_kind_of_answer": "kind of answer",
          "by_recorded_score": "recorded judge's own certainty"}  # fmt: skip


def human_table() -> pd.DataFrame:
    """Agreement with people's labels (PyRIT's scorer evaluations), judge and keyword list."""
    lines = []
    for name, both in measured()["refusal"].get("human_labels", {}).items():
        for who in ("judge", "keywords"):
            one = both[who]
            lines.append({"file": name, "by": who, **{k: one.get(k) for k in FIGURES}})
    frame = pd.DataFrame(lines)
    return frame.astype({k: float for k in FIGURES if k != "n" and k in frame})


def sentences_table() -> pd.DataFrame:
    """Our test sentences by language and kind: the judge taught by recorded labels alone (before),
    and ours (after)."""
    lines = []
    for group, both in measured()["refusal"]["sentences"].items():
        line: dict[str, Any] = {"sentences": group, "n": both["after"]["n"]}
        for side in ("sensitivity", "specificity"):
            line |= {f"{side}, {when}": one[side] for when, one in both.items()}
        lines.append(line)
    frame = pd.DataFrame(lines)
    return frame.astype({c: float for c in frame.columns[2:]})


def compared_table() -> pd.DataFrame:
    """Kappa with the recorded labels before and after, by which answers count."""
    found = measured()["refusal"]["compared"]["all"]
    return pd.DataFrame([{"answers": answers, **one} for answers, one in found.items()])


def toxicity_table() -> pd.DataFrame:
    """Rank correlation with the recorded Perspective scores on models left out, beside others'."""
    found = measured()["toxicity"]
    lines = []
    for model, one in found["by_model"].items():
        line = {"model left out": label(model), "n": one["n"], "this judge": one["spearman"]}
        for name, other in found["others"].items():
            line[name] = other["by_model"][model] if other else math.nan
        line |= {"mean, recorded": one["mean_recorded"], "mean, judged": one["mean_judge"]}
        lines.append(line)
    return pd.DataFrame(lines)


def rates_table() -> pd.DataFrame:
    """Judges without recorded labels: their rates and the published ones, column by model."""
    lines = []
    for name, one in measured("judge_rates").items():
        for model, (ours, theirs) in one["rates"].items():
            lines.append({"column": name.replace("/", ": "), "model": label(model),
                          "our judge": ours, "published": theirs, "difference": ours - theirs})  # fmt: skip
    return pd.DataFrame(lines)


def checks_table() -> pd.DataFrame:
    """Judges of open answers on pairs made by hand, by what is judged and how."""
    found = measured("judge_checks")
    return pd.DataFrame(
        {
            "judged": judged,
            "by": way,
            **{k: one[k] for k in ("n", "accuracy", "kappa")},
            "sensitivity": one.get("sensitivity", math.nan),
            "specificity": one.get("specificity", math.nan),
            "never right on": ", ".join(
                k for k, (hit, _) in one["accuracy_by_kind"].items() if not hit
            ),
        }
        for judged in ("correctness", "correction", "agreement")
        for way, one in found[judged].items()
    )


def left_out_table() -> pd.DataFrame:
    """Raw, corrected and shifted rates of models treated as unlabelled; see judge_corrected."""
    return summary(left_out(measured()["refusal"]["by_task_and_model"]))


def error_table() -> pd.DataFrame:
    """What corrects a rate, per task: sensitivity and specificity, and how far models spread."""
    lines = []
    for task in TASKS.values():
        error = judge_error(task.judge, task.id) if task.live else None
        if error:
            sides = {"sensitivity": error.sensitivity, "specificity": error.specificity}
            line: dict[str, Any] = {"task": task.title}
            for name, side in sides.items():
                line |= {name: side.mean, f"{name}, spread over models": _deviation(side)}
            lines.append(line)
    return pd.DataFrame(lines)


def _deviation(side: Any) -> float:
    return math.sqrt(side.mean * (1 - side.mean) / (side.precision + 1))


def judge_corrected_table(run: EvaluatedModel) -> pd.DataFrame:
    """Raw and judge-corrected rates of a live model, and how many of its judgements are unsure."""
    cells = run.cells[run.cells["debiased"].notna()]
    boards = cells[cells["table"].str.startswith("leaderboard")]
    unsure = {}
    for line in run.counts().itertuples():
        if line.answers:
            unsure[line.task] = getattr(line, "judge_unsure", math.nan) / line.answers
    tasks = {(c.table, c.column): t.id for t in TASKS.values() for c in t.columns}
    return pd.DataFrame(
        {
            "column": c.column,
            "raw": c.value,
            "low": c.ci_low,
            "high": c.ci_high,
            "judge-corrected": c.debiased,
            "judge-corrected, low": c.debiased_low,
            "judge-corrected, high": c.debiased_high,
            "unsure": unsure.get(tasks[c.table, c.column], math.nan),
        }
        for c in boards.itertuples()
    )


def agreement_groups() -> dict[str, pd.DataFrame]:
    """Kappa of judge and keyword list: title -> group, kappa and "kappa, keywords"."""
    by = ("by_model", "by_task", "by_recorded_score")
    frames = {_HEADS[b]: refusal_table(b) for b in by}
    return {t: f.rename(columns={f.columns[0]: "group"}) for t, f in frames.items()}


def readings_table() -> pd.DataFrame:
    """How the corrected rule reads answers written for this package (data/readings), by task.

    Columns: task, n, as expected, unread, wrong of the test set, and how many of the development
    set, at which the grammar was written, are read otherwise than expected.
    """
    cases = load_cases(data_dir() / "readings" / "cases.json")
    found = read_cases(cases, open_benchmark(MINIATURE))
    test, seen = (tally([c for c in found if c["set"] == s]) for s in ("test", "development"))
    test = test.rename(columns={"acceptable": "as expected"})
    other = (seen["unread"] + seen["wrong"]).astype(str) + " of " + seen["n"].astype(str)
    test["development: otherwise"] = test["task"].map(dict(zip(seen["task"], other, strict=True)))
    total = {"task": "all", **test[["n", "as expected", "unread", "wrong"]].sum()}
    total["development: otherwise"] = (
        f"{(seen['unread'] + seen['wrong']).sum()} of {seen['n'].sum()}"
    )
    return pd.concat([test, pd.DataFrame([total])], ignore_index=True)
