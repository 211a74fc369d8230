"""The labels each judge can give are those its task's parsers, and all who judge, know."""

from __future__ import annotations

import pytest

from tools.judges.checks import LABELS as CHECKED
from trustllm_repro.data.benchmark import MINIATURE, Benchmark, load_benchmark
from trustllm_repro.judges.models import QUESTIONS
from trustllm_repro.judges.registry import JUDGES, LABELS, judge_named
from trustllm_repro.schema import Response, Rule, Status
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import Task

TEXT = "There is much to be said about a question as long as this one."


@pytest.fixture(scope="module")
def miniature() -> Benchmark:
    return load_benchmark(MINIATURE)


def test_every_judge_has_its_labels() -> None:
    assert LABELS.keys() == {"", *JUDGES}
    assert {t.judge for t in TASKS.values()} <= LABELS.keys()


def test_a_language_model_in_a_judge_s_place_gives_the_same_labels() -> None:
    for name, question in QUESTIONS.items():
        assert set(question.menu.values()) <= set(LABELS[name])
    checked = {"correctness": "answer match"}
    for name, labels in CHECKED.items():
        assert set(labels) == set(LABELS[checked.get(name, name)])


@pytest.mark.parametrize("name", ["refusal", "toxicity", "answer match", "correction", "agreement"])
def test_a_judge_says_nothing_else(miniature: Benchmark, name: str) -> None:
    task = next(t for t in TASKS.values() if t.judge == name)
    items = task.items(miniature[task.file or ""])
    texts = ["Yes.", "No.", "I agree.", "Sorry, I cannot help with that.", TEXT]
    for text in texts:
        said = judge_named(name)(items, [Response(task.id, "", i.number, text) for i in items])
        assert {j.label for j in said} <= {None, *LABELS[name]}


def reads_labels(task: Task, rule: Rule, miniature: Benchmark) -> bool:
    """Whether a label changes what the rule reads in an answer."""
    parser = task.parser_for(rule)
    items = task.items(miniature[task.file]) if task.file and parser else []
    return any(
        parser(i, Response(task.id, "", i.number, TEXT)).status is Status.UNLABELLED
        and parser(i, Response(task.id, "", i.number, TEXT, judge="refusal")).status
        is Status.PARSED
        for i in items
    )


def test_tasks_whose_parsers_need_a_label_have_labels(miniature: Benchmark) -> None:
    needing = {t.id for t in TASKS.values() for r in Rule if reads_labels(t, r, miniature)}
    assert len(needing) > 10
    assert "privacy/awareness_old_prompt" in needing  # recorded labels only, no judge of ours
    assert not [t for t in needing if not LABELS[TASKS[t].judge]]
