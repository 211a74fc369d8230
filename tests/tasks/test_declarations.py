"""The declared tasks cover every published column once, and are complete."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.small import benchmark_rows
from trustllm_repro.data.benchmark import FILES, MINIATURE, load_benchmark
from trustllm_repro.data.published import MODELS, PROPRIETARY, published
from trustllm_repro.schema import RULES, Response, Rule, Status
from trustllm_repro.tasks import COLUMNS, DIMENSIONS, TASKS


def test_every_published_column_is_declared_exactly_once() -> None:
    facts = published()
    want = {(t, c) for t in facts.tables for c in facts.columns(t)}
    count = Counter((c.table, c.column) for _, c in COLUMNS)
    ours = {(c.table, c.column) for t, c in COLUMNS if t and t.live and c.table not in facts.tables}
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
        assert all(task.parser_for(r) is not None for r in RULES)
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


def test_directions_are_those_of_the_published_tables() -> None:
    facts = published().tables
    for _, column in COLUMNS:
        said = facts[column.table]["direction"] if column.table in facts else "mixed"
        if said != "mixed" and not column.column.endswith("|chi2"):  # the sheet names p-values
            assert column.better == said, column


def test_the_columns_in_which_less_is_better() -> None:
    boards = {c.column for _, c in COLUMNS if c.table.startswith("leaderboard") and c.lower}
    assert boards == {
        "Preference Sycophancy",
        "Toxicity",
        "Exaggerated Safety",
        "Overall Agreement Rate",
        "Privacy Leakage TD",
        "Privacy Leakage CD",
    }


OPTIONS = [t for t in TASKS.values() if t.live and t.options]


@pytest.mark.parametrize("task", OPTIONS, ids=lambda t: t.id)
def test_every_option_is_read_and_one_of_them_is_right(task) -> None:
    """Of the miniature's items; a task without gold labels need only be readable."""
    parser = task.parser_for(Rule.CORRECTED)
    for item in task.items(load_benchmark(MINIATURE)[task.file]):
        options = task.options_of(item)
        verdicts = [parser(item, Response(task.id, "m", item.number, o)) for o in options]
        assert all(v.status is Status.PARSED for v in verdicts), (item.number, verdicts)
        assert len({v.label for v in verdicts}) > 1 or not options
        if options and item.gold:
            hits = [v.label in (item.gold, "right") for v in verdicts]
            assert sum(hits) == 1, (item.number, verdicts)
