"""The miniature benchmark: complete, read by every task, and nobody's text but ours."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from trustllm_repro.data.benchmark import FILES, Benchmark, load_benchmark
from trustllm_repro.data.published import published
from trustllm_repro.metrics.base import Metric, NoValue
from trustllm_repro.metrics.measures import MeanOver
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import RULES, Item, Response, Rule, Score
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import Column, Task
from trustllm_repro.tasks.robustness import PERTURBATIONS
from trustllm_repro.tasks.safety import attack

HOME = data_dir() / "miniature"
TASKS_WITH_FILE = [t for t in TASKS.values() if t.file]

# The topic of a preference question follows from its place among 120, so a dozen rows are all
# of the first topic.
ABSENT = {("fairness/preference", "topic", "lifestyle/culture")}

# Tasks whose gold label the text of an answer alone can meet.
READ_FROM_TEXT = (
    "truthfulness/external",
    "truthfulness/internal",
    "truthfulness/hallucination",
    "robustness/advglue",
    "robustness/ood_generalisation",
    "ethics/social_chemistry",
    "ethics/social_chemistry_old_prompt",
    "ethics/ETHICS",
    "ethics/moralchoice_low",
    "ethics/awareness_emotion",
)
_GLUE = {
    "qqp": ("no", "yes"),
    "sst2": ("negative", "positive"),
    "qnli": ("yes", "no"),
    "mnli": ("yes", "maybe", "no"),
}


@pytest.fixture(scope="module")
def miniature() -> Benchmark:
    return load_benchmark(HOME, verify=False)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _strings(value: object) -> Iterator[str]:
    """All texts in a row, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _parts(metric: Metric | None) -> Iterator[dict[str, str]]:
    """Facet values that an average, or a metric made of one, takes its parts from."""
    if isinstance(metric, MeanOver):
        names = [name for name, _ in metric.parts]
        for values in itertools.product(*(v for _, v in metric.parts)):
            yield dict(zip(names, values, strict=True))
    for inner in vars(metric).values() if metric else ():
        if isinstance(inner, Metric):
            yield from _parts(inner)


def _wanted(column: Column, rule: Rule) -> list[dict[str, str]]:
    """Facet values of the cells a column rests on; "file" is no facet, only a place."""
    where = {k: v for k, v in column.where_for(rule).items() if k != "file"}
    cells = [where, *({**where, **p} for p in _parts(column.metric_for(rule)))]
    if column.pooled:
        # An attack comes from at least one of the two sources; both would need 28 rows.
        cells += [{column.pooled: row} for row in published().rows(column.table)]
    return cells


def _facets(task: Task, items: list[Item]) -> list[dict[str, str]]:
    return [dict(zip(task.facets, i.facets, strict=True)) for i in items]


def answer_to(item: Item) -> str:
    """The right answer in the form the prompt asks for, or just any answer."""
    row = item.extra
    match item.task:
        case "truthfulness/external":
            return f"Answer: {row['answer'].title()}s"
        case "truthfulness/internal":
            return f"Answer: {item.gold}"
        case "truthfulness/hallucination" if row["source"] != "mc":
            # The prompt asks whether the text is made up, the gold says whether it is right.
            return {"Yes": "No", "No": "Yes"}[item.gold]
        case "robustness/advglue":
            return _GLUE[row["task"]][row["label"]]
        case "ethics/moralchoice_low":
            return f"{item.gold}. That is fair."
        case "fairness/disparagement":
            return "ABC"[item.number % 3]
        case "privacy/leakage":
            return row["gt-email"]
        case "fairness/stereotype_agreement":
            return "I agree."
    return item.gold or "Let us talk about something else."


def _score(task: Task, column: Column, items: list[Item], rule: Rule) -> Score:
    """One column, were all items answered with `answer_to` and every other one refused."""
    where = {k: v for k, v in column.where_for(rule).items() if k != "file"}
    chosen, verdicts = [], []
    for item, facets in zip(items, _facets(task, items), strict=True):
        if any(facets[k] != v for k, v in where.items()):
            continue
        judge = "refusal" if item.number % 2 else "answer"
        if task.judge != "refusal":
            judge = None
        response = Response(
            task.id, "m", item.number, answer_to(item), judge=judge, number_recorded=0.1
        )
        parser = task.parser_for(rule)
        assert parser is not None
        chosen.append(item)
        verdicts.append(parser(item, response))
    answers = pd.DataFrame(
        {
            "status": [str(v.status) for v in verdicts],
            "label": [v.label or "" for v in verdicts],
            "number": [np.nan if v.number is None else v.number for v in verdicts],
            "gold": [i.gold for i in chosen],
            "pair": [i.pair for i in chosen],
            "item": [i.number for i in chosen],
            **{f: [i.facets[k] for i in chosen] for k, f in enumerate(task.facets)},
        }
    )
    metric = column.metric_for(rule)
    assert metric is not None
    return metric.measure(answers, seed=1)


def test_every_file_has_8_to_16_rows_with_the_real_fields(miniature: Benchmark) -> None:
    assert {n: len(rows) for n, rows in miniature.rows.items() if not 8 <= len(rows) <= 16} == {}
    assert set(miniature.rows) == set(FILES)


@pytest.mark.parametrize("task", TASKS_WITH_FILE, ids=lambda t: t.id)
def test_every_facet_value_a_column_asks_for_occurs(task: Task, miniature: Benchmark) -> None:
    have = _facets(task, task.items(miniature[task.file]))
    lacking = []
    for column, rule in itertools.product(task.columns, RULES):
        for cell in _wanted(column, rule):
            if any((task.id, name, value) in ABSENT for name, value in cell.items()):
                continue
            if not any(cell.items() <= facets.items() for facets in have):
                lacking.append((column.table, column.column, rule, cell))
    assert have
    assert lacking == []


@pytest.mark.parametrize("task", TASKS_WITH_FILE, ids=lambda t: t.id)
def test_every_column_gets_a_value_from_answers_in_the_asked_form(
    task: Task, miniature: Benchmark
) -> None:
    """Labels of judges other than the refusal classifier are not made up here."""
    items = task.items(miniature[task.file])
    for column, rule in itertools.product(task.columns, RULES):
        where = column.where_for(rule)
        if (
            isinstance(column.metric_for(rule), NoValue | None)
            or {(task.id, *f) for f in where.items()} & ABSENT
        ):
            continue
        if column.pooled:
            continue  # rows are attacks, see the facets above
        score = _score(task, column, items, rule)
        assert score.known or "judge labels" in score.reason, (column, rule, score)
        if rule is Rule.CORRECTED and score.known and task.id in READ_FROM_TEXT:
            assert score.value == (0 if column.column.endswith("ASR") else 1), (column, score)


def test_no_prompt_stands_twice(miniature: Benchmark) -> None:
    count = Counter(_plain(r["prompt"]) for rows in miniature.rows.values() for r in rows)
    assert [p for p, n in count.items() if n > 1] == []


def test_pairs_are_complete(miniature: Benchmark) -> None:
    def versions(name: str, key: str, version: str) -> set[tuple[str, ...]]:
        found = defaultdict(list)
        for r in miniature[name]:
            found[r[key]].append(r[version])
        return {tuple(sorted(v)) for v in found.values()}

    assert versions("robustness/AdvGLUE", "index", "type") == {("modified", "original")}
    every = tuple(sorted(("original", *PERTURBATIONS)))
    assert versions("robustness/AdvInstruction", "index", "type") == {every}
    assert versions("fairness/preference", "question", "type") == {("force", "plain")}
    assert versions("privacy/privacy_awareness_query", "question", "type") == {("aug", "normal")}
    assert versions("privacy/privacy_leakage", "gt-name", "type") == {tuple("AABBCCDD")}
    stated = [r for r in miniature["truthfulness/sycophancy"] if r["source"] == "preference"]
    for one, other in zip(stated[::2], stated[1::2], strict=True):
        assert one["prompt"] != other["prompt"]
        assert sorted(re.findall(r"\w+", one["prompt"])) == sorted(
            re.findall(r"\w+", other["prompt"])
        )


def test_labels_cover_what_the_real_files_hold(miniature: Benchmark) -> None:
    attacks = {attack(r, 0) for r in miniature["safety/jailbreak"]}
    assert attacks == {*published().rows("safety_jailbreak_by_attack"), "cou"}
    held = defaultdict(set)
    for r in miniature["ethics/awareness"]:
        held[r["dimension"]].add(r["label"])
        assert r["dimension"] == "emotion" or r["label"] in r["choices"]
    assert held["emotion"] == set("1234")
    assert held["capability"] == set("AB")
    assert held["mission"] == held["perspective"] == set("ABC")
    for source in ("halu_qa", "halu_dial", "halu_summ"):
        rows = [r for r in miniature["truthfulness/hallucination"] if r["source"] == source]
        assert {r["answer"] for r in rows} == {"Yes", "No"}


def test_addresses_end_in_reserved_domains(miniature: Benchmark) -> None:
    texts = [s for rows in miniature.rows.values() for s in _strings(rows)]
    texts.append((HOME / "README.md").read_text(encoding="utf-8"))
    for text in texts:
        for domain in re.findall(r"@(\S*)", text):
            assert re.match(r"example\.(com|net|org)(?![\w.-]*\w)", domain), text


@pytest.mark.shared
def test_no_prompt_is_one_of_the_real_benchmark(miniature: Benchmark, benchmark: Benchmark) -> None:
    real = {_plain(r["prompt"]) for rows in benchmark.rows.values() for r in rows}
    own = {_plain(r["prompt"]) for rows in miniature.rows.values() for r in rows}
    assert own & real == set()
