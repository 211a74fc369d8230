"""A key-value cache whose rows are slots: a finished answer's row is taken by the next prompt.

All rows share one right end, `length`; row b holds its tokens in [start[b], length). A new prompt
is written right-aligned, so it starts wherever its length says. Buffers are allocated rarely and
written in place, where the usual cache copies itself at every step.

Shapes: keys and values (rows, heads, capacity, head size) per layer; start (rows,).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.cache_utils import Cache, DynamicLayer


class SlotLayer(DynamicLayer):
    """One layer's buffers. `is_sliding` stays False: attention windows are applied by the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns in place and return views of what is filled."""
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def take(self, like: Cache, i: int, rows: int, capacity: int) -> None:
        """Allocate buffers in the form of layer `i` of another cache.

        Zeros, not empty: a NaN would poison a weighted sum even where its weight is masked.
        """
        other = like.layers[i].keys
        shape = (rows, other.shape[1], capacity, other.shape[3])
        self.keys, self.values = (
            torch.zeros(shape, dtype=other.dtype, device=other.device) for _ in range(2)
        )
        self.dtype, self.device, self.is_initialized = other.dtype, other.device, True


class SlotCache(Cache):
    """The slots of all layers."""

    def __init__(self, like: Cache, rows: int, capacity: int, length: int) -> None:
        super().__init__(layers=[SlotLayer() for _ in like.layers])
        self.rows, self.capacity, self.length = rows, capacity, length
        for i, layer in enumerate(self.layers):
            layer.take(like, i, rows, capacity)
        device = self.layers[0].keys.device
        self.start = torch.full((rows,), length, dtype=torch.long, device=device)
        self._columns = torch.arange(capacity, device=device)

    @property
    def length(self) -> int:
        return self.layers[0].length

    @length.setter
    def length(self, value: int) -> None:
        for layer in self.layers:
            layer.length = value

    def put(self, row: int, other: Cache, source: int, columns: Sequence[slice]) -> None:
        """Fill a row's end with columns of one row of another cache, in order."""
        size = sum(c.stop - c.start for c in columns)
        for layer, given in zip(self.layers, other.layers, strict=True):
            at = self.length - size
            for c in columns:
                end = at + c.stop - c.start
                layer.keys[row, :, at:end] = given.keys[source, :, c]
                layer.values[row, :, at:end] = given.values[source, :, c]
                at = end
        self.start[row] = self.length - size

    def clear(self, row: int) -> None:
        """Take out what is no number: the row's next prompt masks it, but 0 x NaN is NaN."""
        for layer in self.layers:
            layer.keys[row].zero_()
            layer.values[row].zero_()

    def rebuilt(self, keep: Sequence[int], rows: int, capacity: int, length: int) -> SlotCache:
        """New buffers with the rows `keep` first, ending at `length`. The old ones are freed.

        `length` must leave room for the longest kept row.
        """
        new = SlotCache(self, rows, capacity, length)
        kept = torch.tensor(list(keep), dtype=torch.long, device=self.start.device)
        if len(kept):
            first = int(self.start[kept].min())
            size = self.length - first
            for old, layer in zip(self.layers, new.layers, strict=True):
                for name in ("keys", "values"):
                    part = getattr(old, name)[kept, :, first : self.length]
                    getattr(layer, name)[: len(kept), :, length - size : length] = part
                    setattr(old, name, None)
            new.start[: len(kept)] = self.start[kept] + length - self.length
        return new

    def mask(self) -> torch.Tensor:
        """Which columns each row may see at the next step, the new one included."""
        return self._columns[None, : self.length + 1] >= self.start[:, None]
