"""Answers are made once, by whoever's share they are, and stored as they come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.notes import Notes
from tests.tiny import tiny_model
from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.evaluation.generate import ResponseStore, Settings, generate, make_plan
from trustllm_repro.models.local import LocalModel

SETTINGS = Settings(limit=2, max_new_tokens=6)


class Counting(LocalModel):
    """Counts the requests that reach a real model; stops after some batches if told to."""

    asked, stop_after = 0, 10**9

    def complete(self, requests) -> Iterator:
        self.asked += len(requests)
        for number, batch in enumerate(super().complete(requests)):
            if number == self.stop_after:
                raise KeyboardInterrupt
            yield batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny"), context=4096)


@pytest.fixture
def model(folder):
    return Counting(folder, "m", batch_size=8)


@pytest.fixture(scope="module")
def small():
    return load_benchmark(MINIATURE)


def test_the_second_run_makes_no_model_call(model, small, tmp_path):
    plan, store = make_plan(model, small, SETTINGS), ResponseStore(tmp_path, "m")
    cost = generate(model, plan, store)
    keys = {a.key for a in plan.asked}
    assert cost.answers == model.asked == len(keys)
    made = store.load()
    assert made.keys() == keys
    assert cost.new_tokens == sum(c.new_tokens for c in made.values())
    assert cost.prompt_tokens == sum(c.prompt_tokens for c in made.values())
    before = store.lines.path.read_bytes()
    again = generate(model, plan, store)
    assert model.asked == len(keys)
    assert (again.answers, again.new_tokens) == (0, 0)
    assert store.lines.path.read_bytes() == before


def test_only_what_is_missing_is_asked(model, small, tmp_path):
    store = ResponseStore(tmp_path, "m")
    few = make_plan(model, small, Settings(limit=1, max_new_tokens=6))
    generate(model, few, store)
    asked = model.asked
    more = make_plan(model, small, SETTINGS)
    generate(model, more, store)
    assert model.asked - asked == len({a.key for a in more.asked} - {a.key for a in few.asked})
    assert store.load().keys() == {a.key for a in (*few.asked, *more.asked)}


def test_an_interrupted_run_goes_on_where_it_was(model, small, tmp_path):
    plan, store = make_plan(model, small, SETTINGS), ResponseStore(tmp_path / "one", "m")
    whole = ResponseStore(tmp_path / "two", "m")
    generate(model, plan, whole)
    model.asked, model.stop_after = 0, 5
    with pytest.raises(KeyboardInterrupt):
        generate(model, plan, store)
    stored = len(store.load())
    assert stored >= 5
    model.asked, model.stop_after = 0, 10**9
    generate(model, plan, store)
    assert model.asked == len(plan.asked) - stored
    assert store.load() == whole.load()


def test_progress_counts_up_to_the_end(model, small, tmp_path):
    plan, notes = make_plan(model, small, SETTINGS), Notes()
    cost = generate(model, plan, ResponseStore(tmp_path, "m"), notes)
    stages, done, total, more = zip(*notes.steps, strict=True)
    assert set(stages) == {"answering"}
    assert done[0] == 0
    assert done[-1] == len(plan.asked)
    assert set(total) == {len(plan.asked)}
    assert list(done) == sorted(done)
    assert more[-1].startswith(f"{cost.new_tokens:,} new tokens, ")


def test_shares_of_several_workers_make_the_whole(model, small, tmp_path):
    plan = make_plan(model, small, SETTINGS)
    whole, shared = ResponseStore(tmp_path / "one", "m"), ResponseStore(tmp_path / "two", "m")
    generate(model, plan, whole)
    model.asked = 0
    for worker in (2, 0, 1):
        generate(model, plan, shared, part=(worker, 3))
    assert model.asked == len({a.key for a in plan.asked})
    assert shared.load() == whole.load()
