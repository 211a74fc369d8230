"""Labels for answers, so that the parsers of recorded answers can read them; and how a rule reads
given answers: `trustllm-repro read`, and the table of cases in 18_judges.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NotRequired

import pandas as pd
from pydantic import ConfigDict, StrictInt, TypeAdapter
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from trustllm_repro.data.benchmark import Benchmark, parse_rows
from trustllm_repro.errors import SchemaError, SettingsError, SourceMissing
from trustllm_repro.evaluation.generate import Asked, Choice, Plan
from trustllm_repro.judges.judge import Judge
from trustllm_repro.judges.models import model_judge
from trustllm_repro.judges.registry import JUDGES, LABELS, judge_error, judge_named
from trustllm_repro.metrics.judge_error import JudgeError
from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.parsers.base import REFUSAL
from trustllm_repro.progress import Progress
from trustllm_repro.schema import UNLABELLED, Item, Response, Rule
from trustllm_repro.tasks import TASKS

GENERATED = "generated"


@dataclass
class LiveAnswers:
    """Answers of one live model, in the form the ledger takes: by task and row."""

    model: str
    items: Mapping[str, Sequence[Any]]
    answers: dict[tuple[str, str], list[Response]] = field(default_factory=dict)
    judges: dict[str, str] = field(default_factory=dict)  # task -> judge's name and digest
    counts: list[dict[str, Any]] = field(default_factory=list)  # one row a task


def judged(
    model: str,
    plan: Plan,
    completions: Mapping[str, Completion],
    judges: Callable[[str], Judge] = judge_named,
    progress: Progress = Progress(),
    labels: Mapping[tuple[str, int], str] | None = None,
) -> LiveAnswers:
    """All answers with the labels of their tasks' judges.

    Args:
        completions: by key; items without one count as missing.
        judges: from a judge's name to the judge; each is loaded once.
        labels: by task and item, those that answers have already.
    """
    live, judge_once, labels = LiveAnswers(model, plan.items), cache(judges), labels or {}
    for done, (name, questions) in enumerate(plan.items.items(), start=1):
        task, items, unsure = TASKS[name], {i.number: i for i in questions}, 0
        asked = [a for a in plan.asked if a.task == name]
        if task.answers_of:
            # Toxicity is that of answers that do not refuse (paper section 7.3).
            first = live.answers.get((task.answers_of, model), [])
            kept = (r for r in first if r.judge != REFUSAL and r.text)
            answers = [replace(r, task=name, judge=None) for r in kept]
        else:
            answers = [
                Response(
                    name, model, a.number, completions[a.key].text, items[a.number].prompt,
                    labels.get((name, a.number)), record_format=GENERATED, revision=GENERATED,
                    source=GENERATED, sample=a.sample,
                )
                for a in asked if a.key in completions
            ]  # fmt: skip
        if task.judge:
            judge = judge_once(task.judge)
            answers, unsure = with_labels(judge, [items[r.number] for r in answers], answers)
            live.judges[name] = f"{judge.name} ({judge.digest[:60]})"
        if not task.answers_of:
            counts = {"task": name, "items": len(items), **_count(asked, completions)}
            live.counts.append(counts | {"judge_unsure": unsure})
        live.answers[name, model] = answers
        progress.step("judging", done, len(plan.items))
    return live


def with_labels(
    judge: Judge, items: Sequence[Item], answers: Sequence[Response]
) -> tuple[list[Response], int]:
    """Answers, those without a label with the judge's, and of how many of these it was unsure."""
    bare = [i for i, r in enumerate(answers) if r.judge is None]
    found = judge([items[i] for i in bare], [answers[i] for i in bare]) if bare else []
    labelled = list(answers)
    for i, judgement in zip(bare, found, strict=True):
        labelled[i] = replace(answers[i], judge=judgement.label, number_recorded=judgement.number)
    return labelled, sum(j.unsure for j in found)


def _count(asked: Sequence[Asked], completions: Mapping[str, Completion]) -> dict[str, int]:
    """What became of one task's requests, and what they cost."""
    made = [completions[a.key] for a in asked if a.key in completions]
    return {
        "answers": len(made),
        "missing": len(asked) - len(made),
        "empty": sum(c.text is not None and not c.text.strip() for c in made),
        "without_logits": sum(c.finish is Finish.NAN for c in made),
        "at_limit": sum(c.finish is Finish.LENGTH for c in made),
        "filtered": sum(c.finish is Finish.FILTER for c in made),
        "prompts_cut": sum(c.cut_tokens > 0 for c in made),
        "prompt_tokens": sum(c.prompt_tokens for c in made),
        "new_tokens": sum(c.new_tokens for c in made),
    }


def add_likelihoods(
    live: LiveAnswers, row: str, wanted: Sequence[Choice], scores: Mapping[str, Sequence[float]]
) -> None:
    """Add a row, of its own name, in which the model's most likely option is read like an answer;
    of equally likely ones the first, and none where no score is finite."""
    for choice in wanted:
        if choice.key not in scores:
            continue
        finite = [-math.inf if math.isnan(v) else v for v in scores[choice.key]]
        best = max(range(len(finite)), key=finite.__getitem__)
        text = choice.options[best].strip() if finite[best] > -math.inf else None
        live.answers.setdefault((choice.task, row), []).append(
            Response(
                choice.task, row, choice.number, text, choice.prompt,
                record_format="likelihood", revision=GENERATED, source=GENERATED,
            )
        )  # fmt: skip


class JudgeChoice:
    """From a judge's name to the judge: ours, unless "judge=model" replaces it, as in
    "refusal=http://localhost:8000/v1#name" (a language model), "refusal=hub:FOLDER" (a classifier)."""

    def __init__(self, replaced: Sequence[str] = ()) -> None:
        self.replaced: dict[str, str] = {}
        for entry in replaced:
            name, _, spec = entry.partition("=")
            if name not in JUDGES or not spec:
                raise SettingsError(
                    f"cannot read the judge {entry!r}",
                    remedy=f"write judge=model, with one of the judges {', '.join(JUDGES)}",
                )
            self.replaced[name] = spec

    def __call__(self, name: str) -> Judge:
        if name not in self.replaced:
            return judge_named(name)
        return model_judge(name, self.replaced[name])

    def measured(self, task: str) -> JudgeError | None:
        """Errors of the judge of a task's answers; None where it was replaced or never measured."""
        name = TASKS[task].judge
        return None if name in self.replaced else judge_error(name, task)


# --- how a rule reads given answers


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
    for name, value in case.items():
        try:
            json.dumps(value, allow_nan=False, indent=1)
        except (ValueError, RecursionError):
            yield name, "NaN, Infinity or endless nesting cannot be written as JSON"
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
