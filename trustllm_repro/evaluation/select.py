"""Which items a limited run asks: a spread over all parts of a task, pairs kept whole."""

from __future__ import annotations

from collections.abc import Sequence

from trustllm_repro.schema import Item


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """About `limit` items of a task, taken in turn from every combination of facets.

    A facet that is a number measures an item and makes no part of its own.

    Items of one pair come together; at least one pair is taken. The choice depends on the items
    only, and a larger limit takes the smaller one's items and more.
    """
    if limit is None or limit >= len(items):
        return list(items)
    units: dict[tuple[str, int], list[Item]] = {}
    for item in items:
        units.setdefault(("pair", item.pair) if item.pair >= 0 else ("", item.number), []).append(
            item
        )
    parts: dict[tuple[str, ...], list[list[Item]]] = {}
    for unit in units.values():
        facets = unit[0].facets if len(unit) == 1 else (*unit[0].facets, *unit[-1].facets)
        kind = tuple(f for f in facets if not f.isdigit())
        parts.setdefault(kind, []).append(unit)
    chosen: list[Item] = []
    turn = 0
    while len(chosen) < limit:
        taken = [part[turn] for part in parts.values() if turn < len(part)]
        for unit in taken:
            if not chosen or len(chosen) + len(unit) <= limit:
                chosen += unit
        turn += 1
        if not taken:
            break
    return sorted(chosen, key=lambda i: i.number)
