"""What a model's forward passes leave for a guard: where each ended, and states of some layers.

A guard must know that no token went past it. So a pass is recorded with its rows, its columns and
the position it ended at, and `check` compares the passes since the last token with the ids that
`generate` has by now. Every thread hears its own passes only.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trustllm_repro.errors import ReproError
from trustllm_repro.online.generations.recorder import blocks_of, layer_numbers


class Unwatched(ReproError):
    """A token cannot be watched; generation ends here, because an unwatched one may not go on."""


@dataclass(frozen=True)
class Pass:
    """One forward pass.

    Attributes:
        ids: (rows, columns), what was read; None where it was not ids.
        rows, columns: of what was read. end: positions behind it, those in its cache included.
        cache: the cache it filled; None without one.
        drafted: whether it checks several tokens at once that something else has proposed.
        padded: whether a row ends in padding.
        states: (rows, layers x size), of the last column, after each of the layers, in their order.
    """

    ids: torch.Tensor | None
    rows: int
    columns: int
    end: int
    cache: Any
    drafted: bool
    padded: bool
    states: torch.Tensor


class Ear:
    """Hooks on a model and on some of its blocks (numbered from 1). `close` removes them."""

    def __init__(self, model: torch.nn.Module, layers: Sequence[int]) -> None:
        self.layers = tuple(layers)
        self._local = threading.local()
        layer_numbers(model, self.layers)  # raises for one that is not there
        blocks = blocks_of(model)
        self._handles = [blocks[n - 1].register_forward_hook(self._block(n)) for n in self.layers]
        self._handles.append(model.register_forward_hook(self._model, with_kwargs=True))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def take(self) -> list[Pass]:
        """This thread's passes since the last call."""
        passes, self._local.passes = self._passes, []
        return passes

    @property
    def _passes(self) -> list[Pass]:
        return self._local.__dict__.setdefault("passes", [])

    def _block(self, layer: int):
        def hook(module, args, output):
            states = output[0] if isinstance(output, tuple) else output
            # A prompt's other columns must not be kept alive by a view of its last.
            last = states[:, -1].clone() if states.shape[1] > 1 else states[:, -1]
            self._local.__dict__.setdefault("states", {})[layer] = last

        return hook

    def _model(self, module, args, kwargs, output) -> None:
        states = self._local.__dict__.pop("states", {})
        if len(states) < len(self.layers):
            raise Unwatched(
                "a forward pass skipped layers the guard reads",
                remedy="generate without early exit, layer skipping or compiled blocks",
            )
        ids = kwargs.get("input_ids", args[0] if args else None)
        given = kwargs["inputs_embeds"] if ids is None else ids
        cache = getattr(output, "past_key_values", None)
        keep = kwargs.get("logits_to_keep", 0)
        mask = kwargs.get("attention_mask")
        padded = mask is not None and mask.dim() == 2 and given.shape[1] > 1
        parts = [states[n].to(states[self.layers[0]].device) for n in self.layers]
        self._passes.append(
            Pass(
                ids=ids,
                rows=given.shape[0],
                columns=given.shape[1],
                end=given.shape[1] if cache is None else int(cache.get_seq_length()),
                cache=cache,
                drafted=isinstance(keep, int) and keep > 1,
                padded=bool(padded and not mask[:, -1].all()),
                states=torch.cat(parts, dim=-1),
            )
        )


def check(passes: Sequence[Pass], ids: torch.Tensor, before: Pass | None, goes_on: bool) -> Pass:
    """The pass that chose the last token of `ids`.

    Args:
        passes: since the last token. ids: (rows, tokens) with the token just chosen.
        before: the pass that chose the token before, if there is one.
        goes_on: whether ids are those of the last call and one token more.

    Raises:
        Unwatched: tokens were or may have been chosen by something else.
    """
    if not passes:
        raise Unwatched(
            "the guard heard no forward pass",
            remedy="give generate() the model the criteria were made for, not compiled or wrapped",
        )
    last = passes[-1]
    # Before the first token, the model may have been used for something else.
    own = passes if goes_on else _one_reading(passes)
    if any(p.drafted for p in own):
        raise Unwatched(
            "several tokens are chosen in one forward pass (prompt lookup, an assistant)",
            remedy="generate without prompt_lookup_num_tokens and assistant_model",
        )
    if last.rows != len(ids):
        raise Unwatched(
            f"{len(ids)} rows are continued from a forward pass over {last.rows} (beam search)",
            remedy="num_beams=1",
        )
    read = last.ids is not None and torch.equal(last.ids, ids[:, -1 - last.columns : -1])
    if len(_one_reading(own)) < len(own) or last.end != ids.shape[1] - 1 or not read:
        raise Unwatched(
            "a token was not chosen by one forward pass over all the text before it (guidance, "
            "an edited cache, embeddings, two generations at once)",
            remedy="plain greedy decoding or sampling; one criteria object for each generation",
        )
    one_more = last.columns == 1 and last.cache is not None
    if before and one_more and not goes_on and last.cache is before.cache:
        raise Unwatched(
            "rows were changed while they were generated (beams, an edited cache)",
            remedy="num_beams=1; a cache of its own for each generation",
        )
    if any(p.padded for p in own):
        raise Unwatched("a prompt is padded on its right", remedy='padding_side="left"')
    return last


def _one_reading(passes: Sequence[Pass]) -> Sequence[Pass]:
    """The last pass and those before it that filled the same cache, piece by piece."""
    at = len(passes) - 1
    while at and _follows(passes[at - 1], passes[at]):
        at -= 1
    return passes[at:]


def _follows(one: Pass, two: Pass) -> bool:
    return two.cache is one.cache is not None and two.end == one.end + two.columns
