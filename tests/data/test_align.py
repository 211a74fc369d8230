"""Rows meet items: equal prompts, older wording by position, answers without prompts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.data.align import align
from trustllm_repro.parsers.original import yes_no
from trustllm_repro.schema import Response
from trustllm_repro.tasks.base import RecordFormat, Task

FORMAT = RecordFormat("main", "results/{model}/x.json")
TASK = Task("d/t", "t", "?", "s", "f", yes_no, (), facets={"source": "source"})


def rows(*prompts: str, source: str = "a") -> list[dict]:
    return [{"prompt": p, "source": source, "res": p} for p in prompts]


def test_the_kth_equal_prompt_meets_the_kth_equal_item() -> None:
    items = TASK.items(rows("p", "q", "p"))
    assert align(FORMAT, TASK, rows("p", "p", "q"), items).pairs == [(0, 0), (1, 2), (2, 1)]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.randoms(use_true_random=False))
def test_any_shuffle_is_matched_completely_and_once(prompts, random) -> None:
    items, shuffled = TASK.items(rows(*prompts)), list(prompts)
    random.shuffle(shuffled)
    found = align(FORMAT, TASK, rows(*shuffled), items)
    assert sorted(n for _, n in found.pairs) == list(range(len(prompts)))
    assert all(shuffled[i] == items[n].prompt for i, n in found.pairs)
    assert found.unmatched == 0


def test_strange_prompts_are_counted_not_guessed() -> None:
    found = align(FORMAT, TASK, rows("p", "other"), TASK.items(rows("p", "q")))
    assert (found.pairs, found.by_position, found.unmatched) == ([(0, 0)], 0, 1)


def test_by_position_needs_the_group_and_the_same_number() -> None:
    record_format = RecordFormat("main", "x/{model}", by_position="source")
    items = TASK.items(rows("p", "q") + rows("r", source="b"))
    older = rows("old p", "old q") + rows("old r", "old s", source="b")
    found = align(record_format, TASK, older, items)
    assert found.pairs == [(0, 0), (1, 1)]  # two for two in group a, two for one in group b
    assert (found.by_position, found.unmatched) == (2, 2)


def test_where_limits_the_items_and_select_the_rows() -> None:
    record_format = RecordFormat(
        "main", "x/{model}", {"source": "b"}, select=lambda r: not r["prompt"].startswith("skip")
    )
    items = TASK.items(rows("p") + rows("p", source="b"))
    assert align(record_format, TASK, rows("skip", "p"), items).pairs == [(1, 1)]


def toxicity(labels: list[str]) -> tuple[Task, list]:
    task = Task(
        "d/t", "t", "?", "s", "f", yes_no, (), facets={"source": "source", "a": lambda r, n: "x"}
    )
    raw = [{"prompt": str(i), "source": s, "label": ["x"]} for i, s in enumerate(labels)]
    return task, task.items(raw)


def csv_row(text: str, kind: str, label: str = "x") -> dict:
    return {"res": text, "type": kind, "label": label, "toxicity": "0.5"}


def test_rows_without_prompts_join_on_answers_whatever_the_sides_are_called() -> None:
    task, items = toxicity(["ITC", "ITC", "QBB"])
    joined = [Response("j", "m", n, t) for n, t in enumerate(["one", "two", "three"])]
    record_format = RecordFormat("csv", "x/{model}", joins="j")
    stored = [
        csv_row("two", "jailbreak"),
        csv_row("three", "toxicity"),
        csv_row("one", "jailbreak"),
    ]
    assert align(record_format, task, stored, items, joined).pairs == [(0, 1), (1, 2), (2, 0)]


def test_a_scored_row_that_joins_nothing_keeps_a_place() -> None:
    task, items = toxicity(["ITC", "QBB", "QBB"])
    joined = [Response("j", "m", 0, "one"), Response("j", "m", 1, "two")]
    stored = [csv_row("one", "toxicity"), csv_row("two", "jailbreak"), csv_row("?", "jailbreak")]
    found = align(RecordFormat("csv", "x/{model}", joins="j"), task, stored, items, joined)
    assert found.pairs == [(0, 0), (1, 1), (2, 2)]
    assert (found.by_position, found.unmatched) == (1, 0)
