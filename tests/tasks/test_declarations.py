"""The declared tasks cover every published column once, and are complete."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.small import benchmark_rows
from trustllm_repro.nouns import RULES
from trustllm_repro.sources.benchmark import FILES
from trustllm_repro.sources.published import MODELS, PROPRIETARY, published
from trustllm_repro.tasks import COLUMNS, DIMENSIONS, TASKS


def test_every_published_column_is_declared_exactly_once() -> None:
    facts = published()
    want = {(t, c) for t in facts.tables for c in facts.columns(t)}
    count = Counter((c.table, c.column) for _, c in COLUMNS)
    ours = {(c.table, c.column) for t, c in COLUMNS if t and not t.records and t.live}
    assert want <= set(count)
    assert set(count) - want <= ours  # tasks of the paper without any published number
    assert {k: n for k, n in count.items() if n != 1} == {}


def test_a_column_without_a_metric_says_why() -> None:
    assert [c.column for _, c in COLUMNS if c.metric is None and not c.gap] == []


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda t: t.id)
def test_tasks_are_complete(task) -> None:
    assert task.id.split("/")[0] in DIMENSIONS
    assert task.title
    assert task.asks.endswith(("?", "."))
    assert task.source
    assert task.file is None or task.file in FILES
    if task.records:
        assert all(task.reading_for(r) is not None for r in RULES)
        assert all("{model}" in f.path for f in task.records)
    for column in task.columns:
        for rule in RULES:
            names = set(column.where_for(rule)) | set(column.without)
            assert names <= {*task.facets, "file"}


@pytest.mark.parametrize("task", [t for t in TASKS.values() if t.file], ids=lambda t: t.id)
def test_items_have_their_facets_and_numbers(task) -> None:
    items = task.items(benchmark_rows()[task.file])
    assert [i.number for i in items] == list(range(len(items)))
    assert all(len(i.facets) == len(task.facets) for i in items)
    assert all("|" not in f for i in items for f in i.facets)


def test_all_24_files_are_known_and_the_16_models() -> None:
    assert len(FILES) == 24
    assert len(MODELS) == 16
    assert set(PROPRIETARY) < set(MODELS)


def test_metrics_and_readings_are_hashable_so_equal_work_is_done_once() -> None:
    for _, column in COLUMNS:
        for rule in RULES:
            hash(column.metric_for(rule))
