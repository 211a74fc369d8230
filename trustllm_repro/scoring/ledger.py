"""The verdict ledger: one row per (answer, rule), never any text.

Two tables. `items` says what was asked: task, item, gold, facets, pair. `verdicts` says what was
read in each answer: task, model, rule, item, sample, edition, form, status, label, number, source.
A row whose rule is "our judge" says how the authors' rule reads an answer with the refusal label
of our judge; there is one where that rule needs a label and none was recorded.
Both are Parquet with fixed order and no timestamps, so the same answers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.metrics.base import Answers
from trustllm_repro.schema import OUR_JUDGE, RULES, Item, Response, Rule
from trustllm_repro.store.archive import sha256
from trustllm_repro.store.atomic import write_with
from trustllm_repro.tasks import TASKS

_WORD = pa.dictionary(pa.int16(), pa.string())
ITEMS = pa.schema(
    {"task": _WORD, "item": pa.int16(), "gold": _WORD, "facets": _WORD, "pair": pa.int16()}
)
VERDICTS = pa.schema({
    "task": _WORD, "model": _WORD, "rule": _WORD, "item": pa.int16(), "sample": pa.int8(),
    "edition": _WORD, "form": _WORD, "status": _WORD, "label": _WORD, "number": pa.float64(),
    "source": _WORD,
})  # fmt: skip
ITEMS_MARK = b"items sha256"
REMEDY = (
    "restore the committed one with `git checkout -- data/ledger`, or rebuild it with "
    "`trustllm-repro replay --records ... --benchmark ...`"
)


class Answered(Protocol):
    """Items and the answers to them, recorded or live."""

    items: Mapping[str, Sequence[Item]]
    answers: Mapping[tuple[str, str], Any]  # keys (task id, model)

    @property
    def models(self) -> Sequence[str]: ...

    def responses(self, task: str, model: str) -> Sequence[Response]: ...


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


def _read_answers(
    answered: Answered, task: str, model: str, rule: Rule, name: str
) -> Iterator[dict]:
    """A row of `VERDICTS` for each answer of a model to a task, as the rule reads it."""
    parser = TASKS[task].parser_for(rule)
    if parser is None:
        return
    items = {i.number: i for i in answered.items[task]}
    for r in answered.responses(task, model):
        verdict = parser(items[r.number], r)
        yield {
            "task": task, "model": model, "rule": name or str(rule), "item": r.number, "sample": r.sample,
            "edition": r.revision, "form": r.record_format, "status": str(verdict.status),
            "label": verdict.label or "", "number": verdict.number, "source": r.source,
        }  # fmt: skip


@dataclass(frozen=True)
class Ledger:
    """Items and verdicts in memory, and the only way scores look at them."""

    items: pa.Table
    verdicts: pa.Table
    sample: int = 0  # which of several answers to the same item is looked at
    ours: bool = False  # whether the authors' rule takes our judge's label where none was recorded

    @classmethod
    def of(
        cls,
        answered: Answered,
        progress: Callable[[int, int], None] = lambda done, total: None,
        rules: Sequence[Rule] = RULES,
        name: str = "",
    ) -> Ledger:
        """Read every answer under every rule; `name` stands in the place of the rules' own."""
        keys = [(t, m) for t in TASKS for m in answered.models if (t, m) in answered.answers]
        rows: list[dict] = []
        for done, key in enumerate(keys, 1):
            for rule in rules:
                rows += _read_answers(answered, *key, rule, name)
            progress(done, len(keys))
        return cls(items_table(answered.items), pa.Table.from_pylist(rows, schema=VERDICTS))

    def joined(self, other: Ledger) -> Ledger:
        """This ledger with the verdicts of another one on the same items, under other rules."""
        verdicts = pa.concat_tables([self.verdicts, other.verdicts]).unify_dictionaries()
        return Ledger(self.items, verdicts.combine_chunks())

    def save(self, folder: str | Path) -> None:
        """Write items.parquet and ledger.parquet, each whole or not at all.

        The ledger names the sha256 of its items, so that a kill between the two is noticed.
        """
        items = write_with(Path(folder) / "items.parquet", lambda p: _write(self.items, p))
        mark = {ITEMS_MARK: sha256(items.read_bytes()).encode()}
        table = self.verdicts.replace_schema_metadata(mark)
        write_with(Path(folder) / "ledger.parquet", lambda p: _write(table, p))

    @classmethod
    def load(cls, folder: str | Path) -> Ledger:
        """Raises SourceMissing or SourceCorrupt, naming the file and the way to rebuild it."""
        items, ledger = (Path(folder) / f"{n}.parquet" for n in ("items", "ledger"))
        loaded = cls(_read(items, ITEMS), _read(ledger, VERDICTS))
        mark = (loaded.verdicts.schema.metadata or {}).get(ITEMS_MARK)
        if mark != sha256(items.read_bytes()).encode():
            raise SourceCorrupt(f"{ledger} belongs to other items than {items}", remedy=REMEDY)
        return loaded

    @cached_property
    def models(self) -> list[str]:
        return sorted(self.verdicts["model"].combine_chunks().dictionary.to_pylist())

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return {n: _array(self.verdicts, n) for n in VERDICTS.names}

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], np.ndarray]:
        """Row numbers of every (task, model, rule)."""
        keys = ["task", "model", "rule"]
        frame = self.verdicts.select(keys).to_pandas()
        return frame.groupby(keys, observed=True).indices

    @cached_property
    def _asked(self) -> dict[str, dict[str, np.ndarray]]:
        columns = {n: _array(self.items, n) for n in ITEMS.names}
        out = {}
        for task, rows in pd.Series(columns["task"]).groupby(columns["task"]).indices.items():
            names = list(TASKS[task].facets) if task in TASKS else []
            split = [f.split("|") for f in columns["facets"][rows]]
            if names and any(len(s) != len(names) for s in split):
                raise SourceCorrupt(
                    f"the ledger's items of {task} do not have the facets {', '.join(names)}: "
                    "another version wrote them",
                    remedy=REMEDY,
                )
            out[task] = {n: columns[n][rows] for n in ("item", "gold", "pair")}
            out[task] |= dict(zip(names, map(np.array, zip(*split, strict=True)), strict=False))
        return out

    def has(self, task: str, model: str) -> bool:
        return any((task, model, str(rule)) in self._rows for rule in RULES)

    def judged(self, task: str, model: str) -> bool:
        """Whether our judge labelled answers that no label was recorded for."""
        return (task, model, OUR_JUDGE) in self._rows

    def rows(self, task: str, model: str, rule: Rule, revisions: Sequence[str]) -> np.ndarray:
        """Row numbers of one model's verdicts, one per item: the last of the revisions that has it."""
        rows = self._rows.get((task, model, str(rule)), np.array([], dtype=int))
        if self.ours and rule is Rule.AUTHORS and self.judged(task, model):
            # Of two rows of one answer the later is taken below.
            rows = np.concatenate([rows, self._rows[task, model, OUR_JUDGE]])
        rows = rows[self._columns["sample"][rows] == self.sample]
        revision, item = self._columns["edition"][rows], self._columns["item"][rows]
        chosen: dict[int, int] = {}
        for name in revisions:
            mask = revision == name
            chosen.update(zip(item[mask].tolist(), rows[mask].tolist(), strict=True))
        return np.array([chosen[n] for n in sorted(chosen)], dtype=int)

    def answers(self, task: str, model: str, rule: Rule, revisions: Sequence[str]) -> Answers:
        """Verdicts of one model; `expected` is the number of the task's items."""
        asked, c = self.asked(task), self._columns
        rows = self.rows(task, model, rule, revisions)
        item = c["item"][rows]
        at = np.searchsorted(asked["item"], item)  # a limited run asks some of the items only
        return Answers(
            status=c["status"][rows],
            label=c["label"][rows],
            number=c["number"][rows],
            gold=asked["gold"][at],
            pair=asked["pair"][at],
            item=item,
            facets={n: asked[n][at] for n in TASKS[task].facets} | {"file": c["form"][rows]},
            expected=len(asked["item"]),
        )

    def asked(self, task: str) -> dict[str, np.ndarray]:
        """Facet name -> value per item of a task; and "item", "gold" and "pair"."""
        return self._asked[task]

    def n_asked(self, task: str) -> int:
        """Number of a task's items; 0 if nobody was asked, as for an older prompt of another task."""
        return len(self._asked[task]["item"]) if task in self._asked else 0

    def frame(self, rows: np.ndarray) -> pd.DataFrame:
        """Verdict rows with what was asked beside them."""
        picked = self.verdicts.take(pa.array(rows)).to_pandas()
        asked = self.items.to_pandas()
        for frame in (picked, asked):
            frame["task"] = frame["task"].astype(str)
        return picked.merge(asked, on=["task", "item"], how="left")


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", compression_level=9, write_page_checksum=True)


def _array(table: pa.Table, name: str) -> np.ndarray:
    column = table[name].combine_chunks()
    if pa.types.is_dictionary(column.type):
        words = np.array(column.dictionary.to_pylist() or [""], dtype=str)
        return words[column.indices.to_numpy(zero_copy_only=False)]
    return column.to_numpy(zero_copy_only=False)


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    if not path.exists():
        raise SourceMissing(f"no ledger file {path}", remedy=REMEDY)
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
        raise SourceCorrupt(f"{path} is not readable Parquet: {e}", remedy=REMEDY) from e
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
