"""The verdict ledger: one row per (answer, rule), never any text.

Two tables. `items` says what was asked: task, item, gold, facets, pair. `verdicts` says what was
read in each answer: task, model, rule, item, sample, edition, form, status, label, number, source.
A row whose rule is "our judge" says how the authors' rule reads an answer with the refusal label
of our judge; there is one where that rule needs a label and none was recorded.
Both are Parquet with fixed order and no timestamps, so the same answers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trustllm_repro.data.recorded import Recorded
from trustllm_repro.errors import SourceCorrupt
from trustllm_repro.judges.registry import judge_named
from trustllm_repro.progress import Progress
from trustllm_repro.schema import OUR_JUDGE, RULES, Item, Rule, Status
from trustllm_repro.store.archive import sha256
from trustllm_repro.store.atomic import reading, write_with
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import Task

_WORD = pa.dictionary(pa.int16(), pa.string())
ITEMS = pa.schema(
    {"task": _WORD, "item": pa.int16(), "gold": _WORD, "facets": _WORD, "pair": pa.int16()}
)
VERDICTS = pa.schema({
    "task": _WORD, "model": _WORD, "rule": _WORD, "item": pa.int16(), "sample": pa.int8(),
    "edition": _WORD, "form": _WORD, "status": _WORD, "label": _WORD, "number": pa.float64(),
    "source": _WORD,
})  # fmt: skip
ANSWER = ["model", "item", "gold", "status", "label", "number", "pair"]  # then the task's facets
ITEMS_MARK = b"items sha256"
REMEDY = (
    "restore the committed one with `git checkout -- data/ledger`, or rebuild it with "
    "`trustllm-repro replay --records ... --benchmark ...`"
)


def items_table(items: Mapping[str, Sequence[Item]]) -> pa.Table:
    """All items of all tasks, without their text: the columns `ITEMS`."""
    rows = [
        {
            "task": task,
            "item": i.number,
            "gold": TASKS[task].known_gold(i),
            "facets": "|".join(f.replace("|", "/") for f in i.facets),
            "pair": i.pair,
        }
        for task, of in items.items()
        for i in of
    ]
    return pa.Table.from_pylist(rows, schema=ITEMS)


def _read_answers(answered: Any, task: str, model: str, rule: Rule, name: str) -> Iterator[dict]:
    """A row of `VERDICTS` for each answer of a model to a task, as the rule reads it."""
    parser = TASKS[task].parser_for(rule)
    if parser is None:
        return
    items = {i.number: i for i in answered.items[task]}
    for r in sorted(answered.answers[task, model], key=lambda r: (r.number, r.revision)):
        verdict = parser(items[r.number], r)
        yield {
            "task": task, "model": model, "rule": name or str(rule), "item": r.number,
            "sample": r.sample, "edition": r.revision, "form": r.record_format,
            "status": str(verdict.status), "label": verdict.label or "", "number": verdict.number,
            "source": r.source,
        }  # fmt: skip


@dataclass(frozen=True)
class Ledger:
    """Items and verdicts in memory, and the only way scores look at them."""

    items: pa.Table
    verdicts: pa.Table
    ours: bool = False  # whether the authors' rule takes our judge's label where none was recorded
    _found: dict[tuple, dict[str | None, pd.DataFrame]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # answers that were asked for before

    @classmethod
    def of(
        cls,
        answered: Any,
        progress: Progress = Progress(),
        rules: Sequence[Rule] = RULES,
        name: str = "",
    ) -> Ledger:
        """Read every answer under every rule; `name` replaces the rules' own.

        `answered`: recorded or live answers, with `items`, and `answers` by task and model.
        """
        # A row by likelihood stands after the generated one of the same model.
        names = {model for _, model in answered.answers}
        models = sorted(names, key=lambda model: ("likelihood" in model, model))
        keys = [(t, m) for t in TASKS for m in models if (t, m) in answered.answers]
        rows: list[dict] = []
        for done, key in enumerate(keys, 1):
            for rule in rules:
                rows += _read_answers(answered, *key, rule, name)
            progress.step("judging answers", done, len(keys))
        return cls(items_table(answered.items), pa.Table.from_pylist(rows, schema=VERDICTS))

    def joined(self, other: Ledger) -> Ledger:
        """This ledger with the verdicts of another one on the same items, under other rules."""
        verdicts = pa.concat_tables([self.verdicts, other.verdicts]).unify_dictionaries()
        return Ledger(self.items, verdicts.combine_chunks())

    def save(self, folder: str | Path) -> None:
        """Write items.parquet and ledger.parquet, each whole or not at all.

        The ledger names the sha256 of its items, so that a kill between the two is noticed.
        """
        items = write_with(Path(folder) / "items.parquet", lambda p: write_parquet(self.items, p))
        mark = {ITEMS_MARK: sha256(items.read_bytes()).encode()}
        table = self.verdicts.replace_schema_metadata(mark)
        write_with(Path(folder) / "ledger.parquet", lambda p: write_parquet(table, p))

    @classmethod
    def load(cls, folder: str | Path) -> Ledger:
        """Raises SourceMissing or SourceCorrupt, naming the file and the way to rebuild it."""
        items, ledger = (Path(folder) / f"{n}.parquet" for n in ("items", "ledger"))
        loaded = cls(_checked(items, ITEMS), _checked(ledger, VERDICTS))
        mark = (loaded.verdicts.schema.metadata or {}).get(ITEMS_MARK)
        if mark != sha256(items.read_bytes()).encode():
            raise SourceCorrupt(f"{ledger} belongs to other items than {items}", remedy=REMEDY)
        return loaded

    @cached_property
    def models(self) -> list[str]:
        return sorted(self.verdicts["model"].combine_chunks().dictionary.to_pylist())

    @cached_property
    def _verdicts(self) -> dict[tuple[str, str], pd.DataFrame]:
        """Verdicts of every (task, rule), words as categories; the first of an item's samples."""
        frame = self.verdicts.to_pandas()
        frame = frame[frame["sample"] == 0]
        return dict(list(frame.groupby(["task", "rule"], observed=True)))

    @cached_property
    def _present(self) -> set[tuple[str, str, str]]:
        """Each task, rule and model that there are verdicts of."""
        found = self.verdicts.select(["task", "rule", "model"]).to_pandas().drop_duplicates()
        return set(found.itertuples(index=False, name=None))

    @cached_property
    def _asked(self) -> dict[str, pd.DataFrame]:
        items = _plain(self.items.to_pandas())
        return {str(t): _with_facets(str(t), part) for t, part in items.groupby("task")}

    def has(self, task: str, model: str, rules: Sequence[str] = RULES) -> bool:
        """Whether there are verdicts under any of the rules."""
        return any((task, rule, model) in self._present for rule in rules)

    def rows(self, task: str, rule: Rule, revisions: Sequence[str]) -> pd.DataFrame:
        """Verdicts by model and item, of each the last of the revisions that has it."""
        names = [str(rule)]
        if self.ours and rule is Rule.AUTHORS:
            names.append(OUR_JUDGE)  # of two rows of one answer the later is taken below
        parts = [f for n in names if (f := self._verdicts.get((task, n))) is not None]
        found = _plain(pd.concat(parts) if parts else VERDICTS.empty_table().to_pandas())
        order = found["edition"].map({n: i for i, n in enumerate(revisions)})
        found = found.assign(order=order).dropna(subset="order")
        found = found.sort_values(["model", "item", "order"])
        return found.drop_duplicates(["model", "item"], keep="last")

    def answers(
        self, task: str, model: str | None, rule: Rule, revisions: Sequence[str]
    ) -> pd.DataFrame:
        """Answers of one model, or of all (None), by model and item, as a metric takes them:
        `ANSWER`, a column a facet, and "file"."""
        key, asked = (task, rule, tuple(revisions)), self.asked(task)
        if key not in self._found:  # all models at once: a join costs more than its rows
            rows = self.rows(*key)[["model", "item", "status", "label", "number", "form"]]
            found = rows.rename(columns={"form": "file"}).merge(asked, on="item")
            found = found[[*ANSWER, *TASKS[task].facets, "file"]]
            parts = found.groupby("model", sort=False)
            self._found[key] = {m: part.reset_index(drop=True) for m, part in parts} | {None: found}
        answers = self._found[key]
        found = answers.get(model, answers[None][:0]).copy(deep=False)
        found.attrs["asked"] = len(asked)
        return found

    def asked(self, task: str) -> pd.DataFrame:
        """A row an item of a task: item, gold, pair and a column a facet; no row if nobody was
        asked, as for an older prompt of another task."""
        if task in self._asked:
            return self._asked[task]
        return pd.DataFrame(columns=["item", "gold", "pair", *TASKS[task].facets])


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of either table with plain strings, and items as usual integers."""
    words = frame.select_dtypes("category").columns
    return frame.astype({**dict.fromkeys(words, object), "item": int})


def _with_facets(task: str, items: pd.DataFrame) -> pd.DataFrame:
    names = list(TASKS[task].facets) if task in TASKS else []
    values = items["facets"].str.split("|")
    if names and (values.str.len() != len(names)).any():
        raise SourceCorrupt(
            f"the ledger's items of {task} do not have the facets {', '.join(names)}: "
            "another version wrote them",
            remedy=REMEDY,
        )
    found = items[["item", "gold", "pair"]].reset_index(drop=True)
    return found.assign(**{n: [v[k] for v in values] for k, n in enumerate(names)})


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", compression_level=9, write_page_checksum=True)


def read_parquet(path: Path, remedy: str) -> pa.Table:
    with reading(path, remedy):
        table = pq.read_table(path, page_checksum_verification=True)
        table.validate(full=True)
    return table


def _checked(path: Path, schema: pa.Schema) -> pa.Table:
    """The table in a file of the ledger, which has this schema and no empty fields."""
    table = read_parquet(path, REMEDY)
    if table.schema.names != schema.names:
        raise SourceCorrupt(
            f"{path} has columns {table.schema.names}, expected {schema.names}", remedy=REMEDY
        )
    try:
        table = table.cast(schema).replace_schema_metadata(table.schema.metadata)
    except pa.ArrowException as e:
        raise SourceCorrupt(f"{path} has a column of a wrong type: {e}", remedy=REMEDY) from e
    empty = [n for n in schema.names if n != "number" and table[n].null_count]
    if empty:
        raise SourceCorrupt(f"{path} has rows without {empty[0]}", remedy=REMEDY)
    return table


def relabelled(recorded: Recorded, tasks: Sequence[Task], lacking: bool = False) -> Recorded:
    """Answers to these tasks, labelled by each task's own judge; `lacking`: only those that lack a
    label which the authors' rule needs."""
    answers, judges = {}, cache(judge_named)
    for task in tasks:
        items = {i.number: i for i in recorded.items[task.id]}
        parser = task.parser_for(Rule.AUTHORS)
        for model in recorded.models:
            said = recorded.responses(task.id, model)
            if lacking:
                read = ((r, parser(items[r.number], r)) for r in said if parser)
                said = [r for r, verdict in read if verdict.status is Status.UNLABELLED]
            if said:
                labels = judges(task.judge)([items[r.number] for r in said], said)
                both = zip(said, labels, strict=True)
                ours = [replace(r, judge=j.label, number_recorded=j.number) for r, j in both]
                answers[task.id, model] = ours
    return replace(recorded, items={t.id: recorded.items[t.id] for t in tasks}, answers=answers)


def with_our_labels(ledger: Ledger, recorded: Recorded) -> Ledger:
    """The ledger with verdicts named OUR_JUDGE on answers that lack a recorded refusal label. Judges
    of other tasks are left out: their agreement with the authors' could not be measured."""
    tasks = [t for t in TASKS.values() if t.judge == "refusal"]
    ours = relabelled(recorded, tasks, lacking=True)
    if not ours.answers:
        return ledger
    return ledger.joined(Ledger.of(ours, rules=(Rule.AUTHORS,), name=OUR_JUDGE))
