"""Match stored rows with the items they answer."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from trustllm_repro.schema import Item, Response
from trustllm_repro.tasks.base import RecordForm, Row, Task


@dataclass(frozen=True)
class Alignment:
    """(row index, item number) pairs, and how many rows were matched by place or not at all."""

    pairs: list[tuple[int, int]]
    by_position: int = 0
    unmatched: int = 0


def align(
    form: RecordForm,
    task: Task,
    rows: Sequence[Row],
    items: Sequence[Item],
    joined: Sequence[Response] = (),
) -> Alignment:
    """The k-th row with a key meets the k-th item with that key; see `RecordForm`."""
    chosen = [i for i, r in enumerate(rows) if form.select is None or form.select(r)]
    if form.joins is not None:
        return _by_answer(rows, items, joined)
    names = list(task.facets)
    wanted = form.where or {}
    pool = [i for i in items if all(i.facets[names.index(k)] == v for k, v in wanted.items())]
    queues: dict[Hashable, deque[int]] = defaultdict(deque)
    for item in pool:
        queues[form.key(item.extra)].append(item.number)
    pairs, left = [], []
    for i in chosen:
        queue = queues.get(form.key(rows[i]))
        if queue:
            pairs.append((i, queue.popleft()))
        else:
            left.append(i)
    placed = _by_position(form, rows, left, [n for q in queues.values() for n in q], items)
    return Alignment(sorted(pairs + placed), len(placed), len(left) - len(placed))


def _by_position(
    form: RecordForm,
    rows: Sequence[Row],
    left: Sequence[int],
    unanswered: Sequence[int],
    items: Sequence[Item],
) -> list[tuple[int, int]]:
    """Rows and items left over in the same group, in order, if there are as many of both."""
    group = form.by_position
    if group is None:
        return []
    rows_of: dict[str, list[int]] = defaultdict(list)
    items_of: dict[str, list[int]] = defaultdict(list)
    for i in left:
        rows_of[str(rows[i].get(group))].append(i)
    for n in sorted(unanswered):
        items_of[str(items[n].extra[group])].append(n)
    return [
        pair
        for name, members in rows_of.items()
        if len(members) == len(items_of[name])
        for pair in zip(members, items_of[name], strict=True)
    ]


def _by_answer(rows: Sequence[Row], items: Sequence[Item], joined: Sequence[Response]) -> Alignment:
    """Rows that carry answer and attack type, but no prompt: meet the answers of another task.

    Equal answers can stand on both sides (QBB and ITC); the `type` column tells the sides apart,
    but its names are swapped in some files, so each type goes to the side it fits best.
    """
    side = {i.number: i.facets[0] for i in items}
    queues: dict[tuple[str, str, str], deque[int]] = defaultdict(deque)
    for r in joined:
        label = ", ".join(items[r.number].extra["label"])
        queues[side[r.number], r.text or "", label].append(r.number)
    fits: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for s in set(side.values()):
            fits[row["type"]][s] += (s, row["res"], row["label"]) in queues
    best = {t: max(sorted(c), key=lambda s: c[s]) for t, c in fits.items()}
    pairs, left = [], []
    for i, row in enumerate(rows):
        queue = queues.get((best[row["type"]], row["res"], row["label"]))
        if queue:
            pairs.append((i, queue.popleft()))
        else:
            left.append(i)
    used = {number for _, number in pairs}
    free = [item for item in items if item.number not in used]
    placed = _place_left(rows, left, free, best)
    return Alignment(sorted(pairs + placed), len(placed), len(left) - len(placed))


def _place_left(
    rows: Sequence[Row], left: Sequence[int], free: list[Item], side: Mapping[str, str]
) -> list[tuple[int, int]]:
    """A score is never dropped because its answer was stored in another wording: such rows take
    free items, those of their side and attack first."""
    placed = []
    for i in left:
        row = rows[i]

        def distance(item: Item, row: Row = row) -> tuple[bool, bool, int]:
            other_attack = ", ".join(item.extra["label"]) != row["label"]
            return item.facets[0] != side[row["type"]], other_attack, item.number

        if free:
            nearest = min(free, key=distance)
            placed.append((i, nearest.number))
            free.remove(nearest)
    return placed
