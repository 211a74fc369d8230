"""Match stored rows with the items they answer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
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
    """The k-th row with a key meets the k-th item with that key; see `RecordFormat`.

    Args:
        joined: answers to the task `record_format.joins`.
        file: named in errors.

    Raises:
        SchemaError: a row lacks a field it is chosen or matched by; names file, row and field.
    """
    if record_format.joins is not None:
        return _by_answer(rows, items, joined)
    names, wanted = list(task.facets), record_format.where or {}
    pool = [i for i in items if all(i.facets[names.index(k)] == v for k, v in wanted.items())]
    keys = _keys(record_format, rows, file)
    pairs, left, unanswered = _meet(keys, {i.number: record_format.key(i.extra) for i in pool})
    placed = _by_position(record_format.by_position, rows, left, unanswered, items)
    return _alignment(pairs, placed, left)


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


def _alignment(
    pairs: Mapping[int, int], placed: Sequence[tuple[int, int]], left: Sequence[int]
) -> Alignment:
    return Alignment(sorted([*pairs.items(), *placed]), len(placed), len(left) - len(placed))


def _meet(
    rows: Mapping[int, Hashable], items: Mapping[int, Hashable]
) -> tuple[dict[int, int], list[int], list[int]]:
    """Row -> item of the same key, the k-th with the k-th; rows and items that are left over."""
    places = dict(zip(_counted(items.values()), items, strict=True))
    pairs = {
        row: places.pop(key)
        for row, key in zip(rows, _counted(rows.values()), strict=True)
        if key in places
    }
    return pairs, [row for row in rows if row not in pairs], sorted(places.values())


def _counted(keys: Iterable[Hashable]) -> Iterator[tuple[Hashable, int]]:
    """Each key with the number of equal keys before it."""
    before: Counter[Hashable] = Counter()
    for key in keys:
        yield key, before[key]
        before[key] += 1


def _by_position(
    group: str | None,
    rows: Sequence[Row],
    left: Sequence[int],
    unanswered: Sequence[int],
    items: Sequence[Item],
) -> list[tuple[int, int]]:
    """Rows and items left over in the same group, in order, if there are as many of both."""
    if group is None:
        return []
    rows_of, items_of = defaultdict(list), defaultdict(list)
    for i in left:
        rows_of[str(rows[i].get(group))].append(i)
    for n in unanswered:
        items_of[str(items[n].extra[group])].append(n)
    same = [name for name in rows_of if len(rows_of[name]) == len(items_of[name])]
    return [pair for name in same for pair in zip(rows_of[name], items_of[name], strict=True)]


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
    keys = {i: (*about_rows[i], row["res"]) for i, row in enumerate(rows)}
    pairs, left, _ = _meet(keys, answers)
    free = {n: about[n] for n in about.keys() - set(pairs.values())}
    placed = []
    # A score is never dropped because its answer was stored in another wording: such rows take
    # free items, those of their side and attack first.
    for i in left[: len(free)]:
        side, attack = about_rows[i]
        nearest = min(free, key=lambda n: (free[n][0] != side, free[n][1] != attack, n))
        placed.append((i, nearest))
        del free[nearest]
    return _alignment(pairs, placed, left)
