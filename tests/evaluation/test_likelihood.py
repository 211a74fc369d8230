"""The reading by likelihood: the most likely option is read in the place of an answer."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.evaluation.generate import (
    Choice,
    LikelihoodStore,
    Plan,
    Settings,
    make_plan,
    score,
)
from trustllm_repro.evaluation.judging import LiveAnswers, add_likelihoods
from trustllm_repro.models.base import options_key
from trustllm_repro.tasks import TASKS


class Scorer:
    """A language model in name only: option scores from a rule, and a count of the calls."""

    name = "rule"

    def __init__(self, template: str = "chat") -> None:
        self.identity = {"weights": "none", "template": template}
        self.asked: list[str] = []

    def complete(self, requests):
        raise AssertionError("nothing is generated")

    def score_options(self, prompts, options):
        for i in reversed(range(len(prompts))):  # any order is allowed
            self.asked.append(prompts[i])
            yield i, [-float(len(prompts[i]) % 7 == k) for k in range(len(options[i]))]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(Scorer(), load_benchmark(MINIATURE), Settings(dimensions=("ethics",)))


def test_only_items_of_tasks_with_options_are_asked(plan: Plan) -> None:
    found = plan.choices
    with_options = {t for t in plan.items if TASKS[t].options}
    assert {c.task for c in found} == with_options
    assert len(found) == sum(len(plan.items[t]) for t in with_options)


def test_a_base_model_reads_options_after_a_blank(plan: Plan) -> None:
    ethics = Settings(dimensions=("ethics",))
    base = make_plan(Scorer("none"), load_benchmark(MINIATURE), ethics)
    assert all(o.startswith(" ") for c in base.choices for o in c.options)
    assert not any(o.startswith(" ") for c in plan.choices for o in c.options)


def test_no_options_are_asked_where_that_reading_is_not_wanted() -> None:
    ethics = Settings(dimensions=("ethics",), likelihood=False)
    assert make_plan(Scorer(), load_benchmark(MINIATURE), ethics).choices == []


def test_a_second_run_asks_nothing_and_a_broken_off_one_only_the_rest(
    plan: Plan, tmp_path: Path
) -> None:
    model, store, wanted = Scorer(), LikelihoodStore(tmp_path, "rule"), plan.choices
    assert score(model, replace(plan, choices=wanted[:5]), store) == 5
    assert score(model, plan, store) == len(wanted) - 5
    assert len(model.asked) == len(wanted)
    assert score(model, plan, store) == 0
    assert set(store.load()) == {c.key for c in wanted}


def test_workers_share_the_questions_without_overlap(plan: Plan, tmp_path: Path) -> None:
    models = [Scorer(), Scorer()]
    store = LikelihoodStore(tmp_path, "rule")
    counts = [score(m, plan, LikelihoodStore(tmp_path / str(k), "rule"), part=(k, 2))
              for k, m in enumerate(models)]  # fmt: skip
    assert sum(counts) == len(plan.choices)
    assert not set(models[0].asked) & set(models[1].asked)
    assert not store.load()


def _choice(number: int, options: tuple[str, ...]) -> Choice:
    key = options_key({}, str(number), options)
    return Choice("ethics/ETHICS", number, str(number), options, key)


def test_the_most_likely_option_becomes_the_answer() -> None:
    live = LiveAnswers("m", {})
    first, second, third = (_choice(n, (" wrong", " not wrong")) for n in range(3))
    scores = {first.key: [-2.0, -1.0], second.key: [math.nan, -9.0], third.key: [math.nan] * 2}
    add_likelihoods(live, "m (likelihood)", [first, second, third, _choice(9, ("x",))], scores)
    said = live.answers["ethics/ETHICS", "m (likelihood)"]
    assert [(r.number, r.text) for r in said] == [(0, "not wrong"), (1, "not wrong"), (2, None)]


def test_scores_that_are_no_numbers_survive_the_store(tmp_path: Path) -> None:
    store, choice = LikelihoodStore(tmp_path, "m"), _choice(0, ("a", "b"))
    store.add([(choice, [math.nan, -1.25])])
    (loaded,) = store.load().values()
    assert math.isnan(loaded[0])
    assert loaded[1] == -1.25


def test_foreign_lines_are_skipped(tmp_path: Path) -> None:
    store = LikelihoodStore(tmp_path, "m")
    store.lines.append([{"key": 3, "nats": [1]}, {"key": "x"}, {"key": "y", "nats": [None, -1]}])
    assert set(store.load()) == {"y"}


def test_keys_differ_by_model_prompt_and_options() -> None:
    keys = {
        options_key(identity, prompt, options)
        for identity in ({"w": 1}, {"w": 2})
        for prompt in ("p", "q")
        for options in (("a", "b"), ("b", "a"))
    }
    assert len(keys) == 8
