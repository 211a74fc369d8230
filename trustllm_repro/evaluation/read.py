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
from trustllm_repro.evaluation.judging import labelled
from trustllm_repro.judges.registry import LABELS, judge_named
from trustllm_repro.schema import Item, Response, Rule, Status, Verdict
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import Task


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

    Raises:
        SourceMissing: no such file. SourceCorrupt: not UTF-8 JSON.
        SchemaError: a case lacks a field, has a wrong type or a number that JSON has not (NaN,
            Infinity), names an unknown task, or a label that no judge of its task gives; names
            file, row and field.
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

    Args:
        cases: as `load_cases` gives them.
        rule: how they are read; a task without a parser under it gives status "unlabelled".
        file: named in errors.

    Raises:
        SchemaError: an item that the task does not have; names the row.
        SourceMissing, SourceCorrupt: weights of a judge that is needed.
    """
    found: dict[int, Verdict] = {}
    for task_id in dict.fromkeys(c["task"] for c in cases):
        task, rows = TASKS[task_id], [i for i, c in enumerate(cases) if c["task"] == task_id]
        items = task.items(benchmark[task.file]) if task.file else []
        for row in rows:
            if not 0 <= cases[row]["item"] < len(items):
                at = f"{task_id} has items 0 to {len(items) - 1}, not {cases[row]['item']}"
                raise SchemaError(file, row, "item", at, remedy=_FIX)
        asked = [items[cases[row]["item"]] for row in rows]
        given = [(c["item"], c["text"], c.get("judge")) for c in (cases[row] for row in rows)]
        answers = [Response(task_id, "", n, text, judge=label) for n, text, label in given]
        parser = task.parser_for(rule)
        for row, item, answer in zip(rows, asked, _judged(task, asked, answers), strict=True):
            found[row] = parser(item, answer) if parser else Verdict(Status.UNLABELLED)
    return [c | {"verdict": _spelled(found[i])} for i, c in enumerate(cases)]


def _judged(task: Task, items: list[Item], answers: list[Response]) -> list[Response]:
    """Answers without a label get that of our judge."""
    need = [i for i, a in enumerate(answers) if a.judge is None]
    if not task.judge or not need:
        return answers
    said = judge_named(task.judge)([items[i] for i in need], [answers[i] for i in need])
    made = {i: labelled(answers[i], j) for i, j in zip(need, said, strict=True)}
    return [made.get(i, a) for i, a in enumerate(answers)]


def _spelled(verdict: Verdict) -> dict[str, Any]:
    return {"label": verdict.label, "number": verdict.number, "status": str(verdict.status)}


def outcome(case: dict[str, Any]) -> str:
    """What became of a case that has `expected` and `verdict`: "acceptable", "unparsed", "wrong".

    "unparsed": no label, though a reader would see one.
    """
    verdict, expected = case["verdict"], case["expected"]
    said = verdict["number"] if verdict["label"] is None else verdict["label"]
    if said is None:
        plain = {"unparsed", verdict["status"]} & {str(e) for e in expected}
        return "acceptable" if plain else "unparsed"
    return "acceptable" if said in expected else "wrong"


def tally(cases: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Cases counted by task: columns task, n, acceptable, unparsed, wrong (int but the first)."""
    frame = pd.DataFrame({"task": c["task"], "outcome": outcome(c)} for c in cases)
    counts = frame.groupby(["task", "outcome"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=["acceptable", "unparsed", "wrong"], fill_value=0)
    counts.insert(0, "n", counts.sum(axis=1))
    return counts.reset_index().rename_axis(columns=None)
