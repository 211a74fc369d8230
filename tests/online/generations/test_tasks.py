"""The tasks as they are declared, and which of their answers are taken."""

from __future__ import annotations

from dataclasses import replace

from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.tasks import TASKS, OnlineTask
from trustllm_repro.online.labels.judges import JUDGES
from trustllm_repro.online.monitors.base import all_monitors


def test_own_answers_and_given_ones_are_apart() -> None:
    by = {"own": set(), "given": set()}
    for task in TASKS.values():
        by[task.answers].add(task.id)
    assert by["own"] == {"toxicity", "wrong_answers", "reasoned", "code"}
    assert by["given"] == {"harm", "jailbreak", "misuse"}


def test_no_judge_is_asked_what_it_cannot_say() -> None:
    for task in TASKS.values():
        assert set(task.judges) <= set(JUDGES)
        assert task.prefixes_by in JUDGES
        assert task.source
        assert (task.samples > 1) == (task.temperature > 0) == (task.top_p < 1)
    monitors = all_monitors()
    assert {j.is_monitor for j in JUDGES.values()} - {""} == {n for n in monitors if "guard" in n}


def test_all_samples_of_a_prompt_are_taken() -> None:
    prompts = [Case(i, str(i), f"Q{i}") for i in range(10)]
    task = OnlineTask("t", "", "", "", lambda: prompts, ("toxicity",), most=4)
    assert [c.number for c in task.take()] == [0, 2, 5, 7]
    assert len(task.take(50)) == 10
    drawn = replace(task, samples=3, temperature=1.0).take(5)
    assert [(c.number, c.sample, c.group) for c in drawn] == [
        (0, 0, "0"), (1, 1, "0"), (2, 2, "0"), (15, 0, "5"), (16, 1, "5"), (17, 2, "5"),
    ]  # fmt: skip
    assert len(task.take(cases=prompts)) == 10  # the user's own are all asked
    assert len(task.take(5, prompts)) == 5


def test_some_are_spread_evenly() -> None:
    cases = [Case(i, str(i), "") for i in range(100)]
    task = OnlineTask("t", "", "", "", list, ("toxicity",))
    assert [c.number for c in task.take(4, cases)] == [0, 25, 50, 75]
    assert task.take(0, cases) == task.take(100, cases) == task.take(500, cases) == cases
    assert task.take(3) == []
