"""Key-value caches: slots that running answers share, and rows selected for one forward pass.

Shapes: keys and values (rows, heads, columns, head size) per layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from transformers.cache_utils import Cache, DynamicLayer

# Attention is shown columns up to a multiple of GRAIN, the last of them masked: kernels keep code
# and scratch memory for every shape they meet, which would otherwise be a new one at every step
# (300 MB after 100 steps in bfloat16).
GRAIN = 32


class SlotLayer(DynamicLayer):
    """One layer's buffers. `is_sliding` stays False: attention windows are applied by the mask."""

    def __init__(self, like: DynamicLayer, reserve: int) -> None:
        super().__init__()
        self.length, self.reserve = 0, reserve
        _, self.heads, _, self.size = like.keys.shape
        self.dtype, self.device, self.is_initialized = like.keys.dtype, like.keys.device, True
        self._store: torch.Tensor | None = None  # keys, then values, and room for more of both

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns in place; views of what is filled, and of some columns more."""
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        shown = self.shown(end)
        return self.keys[:, :, :shown], self.values[:, :, :shown]

    def shown(self, length: int) -> int:
        """Columns attention is shown when `length` of them are filled."""
        return min(-(-length // GRAIN) * GRAIN, self.keys.shape[2])

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.shown(self.length + query_length), 0

    def shape(self, rows: int, capacity: int) -> None:
        """Give keys and values a new shape; allocate only what is not there yet. All zeros, because
        a NaN would poison a weighted sum even where its weight is masked."""
        shape = (2, rows, self.heads, capacity, self.size)
        cells = math.prod(shape)
        if self._store is None or len(self._store) < cells:
            self.keys = self.values = self._store = None  # gone before the larger one comes
            most = max(cells, 2 * self.reserve * self.heads * self.size)
            self._store = torch.empty(most, dtype=self.dtype, device=self.device)
        self.keys, self.values = self._store[:cells].view(shape).zero_()


class SlotCache(Cache):
    """A cache whose rows are slots: a finished answer's row is taken by the next prompt.

    All rows share one right end, `length`; row b holds its tokens in [start[b], length). Buffers
    are written in place, where the usual cache copies itself at every step.

    Args:
        like: a cache of the same model. rows, capacity: the shape at first. length: the right end.
        reserve: tokens, rows times capacity, that may be needed later. A buffer that grows leaves
            a hole that the next one does not fit into; memory not yet written to costs nothing.
    """

    def __init__(
        self, like: Cache, rows: int, capacity: int, length: int, reserve: int = 0
    ) -> None:
        super().__init__(layers=[SlotLayer(layer, reserve) for layer in like.layers])
        for layer in self.layers:
            layer.shape(rows, capacity)
        self._count(rows, capacity, length)

    def _count(self, rows: int, capacity: int, length: int) -> None:
        """Empty rows, all of which end at `length`."""
        self.rows, self.capacity, self.length = rows, capacity, length
        device = self.layers[0].device
        self.start = torch.full((rows,), length, dtype=torch.long, device=device)
        self._columns = torch.arange(capacity, device=device)

    @property
    def length(self) -> int:
        return self.layers[0].length

    @length.setter
    def length(self, value: int) -> None:
        for layer in self.layers:
            layer.length = value

    def put(self, row: int, other: Cache, source: int, mask: torch.Tensor) -> None:
        """Fill a row's end with the columns of one row of another cache that `mask` marks."""
        columns = mask.nonzero()[:, 0].to(self.start.device)
        at = slice(self.length - len(columns), self.length)
        for layer, given in zip(self.layers, other.layers, strict=True):
            layer.keys[row, :, at] = given.keys[source][:, columns]
            layer.values[row, :, at] = given.values[source][:, columns]
        self.start[row] = at.start

    def clear(self, row: int) -> None:
        """Zero what is not a number: the row's next prompt masks it, but 0 x NaN is NaN."""
        for layer in self.layers:
            layer.keys[row].zero_()
            layer.values[row].zero_()

    def rebuild(self, keep: Sequence[int], rows: int, capacity: int, length: int) -> None:
        """Another shape, in which the rows `keep`, none longer than `length`, come first and end
        there. Buffers are used again: besides them only one layer is there a second time."""
        kept = torch.tensor(list(keep), dtype=torch.long, device=self.start.device)
        start, end = self.start[kept], self.length
        first = int(start.min()) if len(kept) else end
        for layer in self.layers:
            keys, values = (x[kept, :, first:end] for x in (layer.keys, layer.values))
            layer.shape(rows, capacity)
            layer.keys[: len(kept), :, length - (end - first) : length] = keys
            layer.values[: len(kept), :, length - (end - first) : length] = values
        self._count(rows, capacity, length)
        self.start[: len(kept)] = start + length - end

    def mask(self) -> torch.Tensor:
        """Which columns each row may see at the next step, the new one included."""
        columns = self._columns[None, : self.layers[0].shown(self.length + 1)]
        return (columns >= self.start[:, None]) & (columns <= self.length)


class SelectedLayer(DynamicLayer):
    """Rows of another cache's layer for one forward pass; new columns are not kept. So no more than
    one layer is ever there for every row."""

    def __init__(self, layer: DynamicLayer, rows: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values, self.rows = layer.keys, layer.values, rows

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The selected rows and their new columns, side by side."""
        return (
            torch.cat([self.keys[self.rows], key_states], dim=2),
            torch.cat([self.values[self.rows], value_states], dim=2),
        )


def selected(cache: Cache, rows: torch.Tensor) -> Cache:
    """Rows of a cache, any of them several times, for one forward pass."""
    return Cache(layers=[SelectedLayer(layer, rows) for layer in cache.layers])
