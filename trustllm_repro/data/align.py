"""Match stored rows with the items they answer."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from trustllm_repro.errors import SchemaError
from trustllm_repro.schema import Item, Response
from trustllm_repro.tasks.base import RecordFormat, Row, Task


@dataclass(frozen=True)
class Alignment:
    """(row index, item number) pairs, and how many rows were matched by place or not at all."""

    pairs: list[tuple[int, int]]
    by_position: int = 0
    unmatched: int = 0


def align(
    record_format: RecordFormat,
    task: Task,
    rows: Sequence[Row],
    items: Sequence[Item],
    joined: Sequence[Response] = (),
    file: str = "",
) -> Alignment:
    """Match the rows of a file with a task's items; see `RecordFormat`.

    Args:
        joined: answers to the task `record_format.joins`.
        file: named in errors.

    Raises:
        SchemaError: a row lacks a field it is chosen or matched by; names file, row and field.
    """
    if record_format.joins is not None:
        return _by_answer(rows, items, joined)
    names, wanted = list(task.facets), record_format.where or {}
    pool = {
        i.number: i.extra
        for i in items
        if all(i.facets[names.index(k)] == v for k, v in wanted.items())
    }
    keys = _keys(record_format, rows, file)
    pairs = meet(keys, {n: record_format.key(extra) for n, extra in pool.items()})
    left, placed, met = [i for i in keys if i not in pairs], {}, set(pairs.values())
    if group := record_format.by_position:
        placed = meet(
            _with_size({i: str(rows[i].get(group)) for i in left}),
            _with_size({n: str(extra[group]) for n, extra in pool.items() if n not in met}),
        )
    return Alignment(sorted((pairs | placed).items()), len(placed), len(left) - len(placed))


def _keys(record_format: RecordFormat, rows: Sequence[Row], file: str) -> dict[int, Hashable]:
    """Keys of the rows that belong to the task."""
    keys = {}
    for i, row in enumerate(rows):
        try:
            if record_format.select(row):
                keys[i] = record_format.key(row)
                hash(keys[i])
        except KeyError as e:
            raise SchemaError(file, i, str(e.args[0]), "field is missing") from e
        except (TypeError, AttributeError) as e:
            raise SchemaError(file, i, "", f"a field has a wrong type ({e})") from e
    return keys


def meet(rows: Mapping[int, Hashable], items: Mapping[int, Hashable]) -> dict[int, int]:
    """Row -> item of the same key: the k-th row with a key meets the k-th item with that key."""
    waiting: dict[Hashable, deque[int]] = defaultdict(deque)
    for number, key in items.items():
        waiting[key].append(number)
    return {row: waiting[key].popleft() for row, key in rows.items() if waiting[key]}


def _with_size(groups: Mapping[int, str]) -> dict[int, Hashable]:
    """Each group with its size, so that only groups of one size meet."""
    sizes = Counter(groups.values())
    return {i: (group, sizes[group]) for i, group in groups.items()}


def _by_answer(rows: Sequence[Row], items: Sequence[Item], joined: Sequence[Response]) -> Alignment:
    """Rows that carry answer and attack type, but no prompt: meet the answers of another task.

    Equal answers can stand on both sides (QBB and ITC); the `type` column tells the sides apart,
    but its names are swapped in some files, so each type goes to the side it fits best.
    """
    about = {i.number: (i.facets[0], ", ".join(i.extra["label"])) for i in items}
    sides = sorted({side for side, _ in about.values()})
    answers = {r.number: (*about[r.number], r.text or "") for r in joined}
    known = set(answers.values())
    fits: Counter[tuple[str, str]] = Counter()
    for row in rows:
        fits.update((row["type"], s) for s in sides if (s, row["label"], row["res"]) in known)
    best = {row["type"]: max(sides, key=lambda s: fits[row["type"], s]) for row in rows}
    about_rows = [(best[row["type"]], row["label"]) for row in rows]
    pairs = meet({i: (*about_rows[i], row["res"]) for i, row in enumerate(rows)}, answers)
    left = [i for i in range(len(rows)) if i not in pairs]
    free = {n: about[n] for n in about.keys() - set(pairs.values())}
    placed = {}
    # A score is never dropped because its answer was stored in another wording: such rows take
    # free items, those of their side and attack first.
    for i in left[: len(free)]:
        side, attack = about_rows[i]
        placed[i] = min(free, key=lambda n: (free[n][0] != side, free[n][1] != attack, n))
        del free[placed[i]]
    return Alignment(sorted((pairs | placed).items()), len(placed), len(left) - len(placed))
