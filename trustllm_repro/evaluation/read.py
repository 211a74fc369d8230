"""How a rule reads given answers: `trustllm-repro read`, and the table of cases in 18_judges."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NotRequired

import pandas as pd
from pydantic import ConfigDict, StrictInt, TypeAdapter
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from trustllm_repro.data.benchmark import Benchmark, parse_rows
from trustllm_repro.errors import SchemaError, SourceMissing
from trustllm_repro.evaluation.judging import with_labels
from trustllm_repro.judges.registry import LABELS, judge_named
from trustllm_repro.schema import UNLABELLED, Response, Rule
from trustllm_repro.tasks import TASKS


class Case(TypedDict):
    """One answer to be read: task id, item (from 0, among the task's items in the official file),
    text, and a judge's label; where there is none, our judge of the task gives it. Further fields
    are kept."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    task: str
    item: StrictInt
    text: str | None
    judge: NotRequired[str | None]
    expected: NotRequired[list[str | float]]


_CASES: TypeAdapter[list[Any]] = TypeAdapter(list[Case])
_FIX = "fix that case; nothing was written"


def load_cases(path: Path) -> list[dict[str, Any]]:
    """Cases of a JSON list.

    Raises SchemaError, which names file, row and field: a case lacks a field, has a wrong type or a
    number that JSON has not (NaN, Infinity), or names an unknown task or label of its judge.
    """
    if not path.is_file():
        raise SourceMissing(f"no file {path}", remedy="give a JSON list of {task, item, text}")
    cases = parse_rows(path.read_bytes(), _CASES, str(path), remedy=_FIX)
    for row, case in enumerate(cases):
        if found := next(_problems(case), None):
            raise SchemaError(str(path), row, *found, remedy=_FIX)
    return cases


def _problems(case: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Fields of a case that cannot be read or written back, each with what is wrong."""
    for field, value in case.items():
        try:
            json.dumps(value, allow_nan=False, indent=1)
        except (ValueError, RecursionError):
            yield field, "NaN, Infinity or endless nesting cannot be written as JSON"
    if case["task"] not in TASKS:
        yield "task", f"no task {case['task']!r}; known: {', '.join(sorted(TASKS))}"
        return
    label, labels = case.get("judge"), LABELS[TASKS[case["task"]].judge]
    if label is not None and label not in labels:
        possible = ", ".join(labels) or "none, for its judge gives numbers"
        yield "judge", f"no judge of {case['task']} says {label!r}; possible labels: {possible}"


def read_cases(
    cases: Sequence[dict[str, Any]],
    benchmark: Benchmark,
    rule: Rule = Rule.CORRECTED,
    file: str = "cases",
) -> list[dict[str, Any]]:
    """The cases with a `verdict` added: {label, number, status}.

    A task without a parser under the rule gives status "unlabelled". Raises SchemaError, which names
    `file` and row: the task does not have that item.
    """
    found = list(cases)
    for task_id in dict.fromkeys(c["task"] for c in cases):
        task, rows = TASKS[task_id], [i for i, c in enumerate(cases) if c["task"] == task_id]
        known = task.items(benchmark[task.file]) if task.file else []
        for row in rows:
            if not 0 <= cases[row]["item"] < len(known):
                at = f"{task_id} has items 0 to {len(known) - 1}, not {cases[row]['item']}"
                raise SchemaError(file, row, "item", at, remedy=_FIX)
        given = [(c["item"], c["text"], c.get("judge")) for c in (cases[row] for row in rows)]
        answers = [Response(task_id, "", n, text, judge=label) for n, text, label in given]
        items = [known[n] for n, _, _ in given]
        if task.judge and any(a.judge is None for a in answers):
            answers, _ = with_labels(judge_named(task.judge), items, answers)
        parser = task.parser_for(rule)
        for row, item, answer in zip(rows, items, answers, strict=True):
            said = parser(item, answer) if parser else UNLABELLED
            spelled = {"label": said.label, "number": said.number, "status": str(said.status)}
            found[row] = cases[row] | {"verdict": spelled}
    return found


def outcome(case: dict[str, Any]) -> str:
    """What became of a case that has `expected` and `verdict`: "acceptable", "wrong", or "unparsed"
    where there is no label though a reader would see one."""
    verdict, expected = case["verdict"], case["expected"]
    said = verdict["number"] if verdict["label"] is None else verdict["label"]
    if said is not None:
        return "acceptable" if said in expected else "wrong"
    none_is_right = {"unparsed", verdict["status"]} & {str(e) for e in expected}
    return "acceptable" if none_is_right else "unparsed"


def tally(cases: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Cases counted by task: columns task, n, acceptable, unparsed, wrong (int but the first)."""
    frame = pd.DataFrame({"task": c["task"], "outcome": outcome(c)} for c in cases)
    counts = frame.groupby(["task", "outcome"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=["acceptable", "unparsed", "wrong"], fill_value=0)
    counts.insert(0, "n", counts.sum(axis=1))
    return counts.reset_index().rename_axis(columns=None)
