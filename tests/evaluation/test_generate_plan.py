"""What is asked: which items, at which temperature, under which seeds and keys."""

from __future__ import annotations

from collections import Counter

import pytest

from trustllm_repro.data.benchmark import FILES, MINIATURE, load_benchmark
from trustllm_repro.errors import SettingsError
from trustllm_repro.evaluation.generate import Settings, make_plan
from trustllm_repro.models.base import Request, content_key, item_seed, options_key
from trustllm_repro.tasks import DIMENSIONS, TASKS

# Paper section 5: temperature 0 for classification, 1 for generation.
CLASSIFIED = {
    "truthfulness/external", "truthfulness/hallucination", "fairness/stereotype_recognition",
    "robustness/advglue", "robustness/ood_generalisation", "privacy/confaide",
    "ethics/social_chemistry", "ethics/ETHICS", "ethics/awareness_emotion",
    "ethics/awareness_capability", "ethics/awareness_mission", "ethics/awareness_perspective",
}  # fmt: skip


class Named:
    """All that a plan asks of a model."""

    def __init__(self, **identity: str) -> None:
        self.name, self.identity = "m", identity or {"weights": "1"}


@pytest.fixture(scope="module")
def small():
    return load_benchmark(MINIATURE)


def test_every_file_and_every_item_is_asked(small):
    plan = make_plan(Named(), small, Settings())
    assert {TASKS[t].file for t in plan.items} == set(FILES)
    want = {(t, i.number) for t, items in plan.items.items() for i in items}
    asked = [(a.task, a.number) for a in plan.asked]
    assert len(asked) == len(set(asked))
    assert set(asked) == {(t, n) for t, n in want if not TASKS[t].answers_of}
    prompts = {(t, i.number): i.prompt for t, items in plan.items.items() for i in items}
    assert [prompts[a] for a in asked] == [a.request.prompt for a in plan.asked]


def test_temperatures_are_the_papers(small):
    plan = make_plan(Named(), small, Settings(limit=1))
    for asked in plan.asked:
        assert asked.request.temperature == (0.0 if asked.task in CLASSIFIED else 1.0), asked.task
    assert {a.task for a in plan.asked} >= CLASSIFIED


def test_answers_that_two_tasks_read_are_asked_once(small):
    plan = make_plan(Named(), small, Settings())
    assert "safety/toxicity" in plan.items
    assert "safety/toxicity" not in {a.task for a in plan.asked}


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_a_limit_holds_for_every_task(small, limit):
    plan = make_plan(Named(), small, Settings(limit=limit))
    whole = make_plan(Named(), small, Settings())
    assert plan.items.keys() == whole.items.keys()
    for task, items in plan.items.items():
        assert items
        assert {i.number for i in items} <= {i.number for i in whole.items[task]}
    keys = {(a.task, a.number): a.key for a in whole.asked}
    assert all(keys[a.task, a.number] == a.key for a in plan.asked)  # so answers are used again


def test_samples_are_drawn_only_where_chance_has_a_part(small):
    plan = make_plan(Named(), small, Settings(limit=2, samples=3))
    times = Counter((a.task, a.number) for a in plan.asked)
    for (task, _), n in times.items():
        assert n == (1 if task in CLASSIFIED else 3)
    drawn = [a for a in plan.asked if a.request.temperature]
    assert len({a.request.seed for a in drawn}) == len(drawn)
    assert len({a.key for a in drawn}) == len(drawn)
    for a in drawn:
        assert a.request.seed == item_seed(0, a.task, a.number, a.sample)
    one = make_plan(Named(), small, Settings(limit=2))
    assert {a.key for a in one.asked} <= {a.key for a in plan.asked}


def test_another_seed_asks_anew_only_what_is_drawn(small):
    one, two = (make_plan(Named(), small, Settings(limit=2, seed=s)) for s in (0, 1))
    for a, b in zip(one.asked, two.asked, strict=True):
        assert (a.key == b.key) == (a.task in CLASSIFIED)


def test_another_model_and_another_limit_of_tokens_are_asked_anew(small):
    plan = make_plan(Named(), small, Settings(limit=1))
    for other in (
        make_plan(Named(weights="2"), small, Settings(limit=1)),
        make_plan(Named(), small, Settings(limit=1, max_new_tokens=9)),
    ):
        assert not {a.key for a in plan.asked} & {a.key for a in other.asked}


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_one_dimension(small, dimension):
    plan = make_plan(Named(), small, Settings(dimensions=(dimension,)))
    assert plan.asked
    assert {TASKS[t].dimension for t in plan.items} == {dimension}


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimensions": ("cooking",)}, {"limit": 0}, {"limit": -3}, {"max_new_tokens": 0},
        {"samples": 0}, {"system": "loud"}, {"sampling": "greedy"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(SettingsError):
        Settings(**wrong)


def test_keys_hold_what_decides_an_answer_and_nothing_else():
    ask = Request("Hello \ud800", 10, 0.0, 1)
    key = content_key({"w": "1"}, ask)
    assert key == content_key({"w": "1"}, Request("Hello \ud800", 10, 0.0, 2), sample=3)
    drawn = {
        content_key({"w": "1"}, Request("Hello", 10, 1.0, seed), sample)
        for seed in range(3)
        for sample in range(3)
    }
    assert len(drawn) == 9
    others = [
        content_key({"w": "2"}, ask),
        content_key({"w": "1"}, Request("Hello", 10)),
        content_key({"w": "1"}, Request("Hello \ud800", 11)),
        content_key({"w": "1"}, Request("Hello \ud800", 10, 0.5)),
    ]
    assert len({key, *others}) == 5


def test_how_tokens_are_drawn_is_in_the_keys_of_drawn_answers_only():
    plain, narrow = {"w": "1"}, {"w": "1", "sampling": {"top_k": 50}}
    for temperature in (0.0, 1.0):
        ask = Request("Hello", 10, temperature)
        assert (content_key(plain, ask) == content_key(narrow, ask)) == (temperature == 0)
    assert options_key(plain, "Hello", ["a"]) == options_key(narrow, "Hello", ["a"])


def test_seeds_differ_and_fit():
    seeds = {
        item_seed(s, t, n, k) for s in (0, 1) for t in ("a", "b") for n in range(20) for k in (0, 1)
    }
    assert len(seeds) == 160
    assert all(0 <= s < 2**63 for s in seeds)
