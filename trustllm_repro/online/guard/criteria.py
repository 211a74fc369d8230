"""A guard as a stopping criterion of transformers' `generate`."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import StoppingCriteria

from trustllm_repro.online.guard.hearing import Ear, Pass, Unwatched, check
from trustllm_repro.online.guard.probe import Probe


class GuardCriteria(StoppingCriteria):
    """Ends a row as soon as its score reaches the threshold.

        criteria = guard.criteria(model, tokenizer)
        model.generate(**inputs, stopping_criteria=[criteria])
        criteria.alarms   # tokens each row had when it was stopped; 0: it was not

    It hears the model by hooks, which go when it does, and begins anew with every generation.

    Args:
        probe: reads the states. threshold: the lowest score that stops.
        ends: tokens that end an answer. most: longest answer the threshold was calibrated on.
        strict: a longer one is an error, else a warning.
        tell: is called with (ids, scores) after each token, both (rows,) tensors; what it returns
            as true stops all rows.

    Raises:
        Unwatched: from `generate`, as soon as a token cannot be watched; see hearing.check.
    """

    def __init__(
        self,
        probe: Probe,
        model: torch.nn.Module,
        threshold: float,
        ends: frozenset[int] = frozenset(),
        most: int = 0,
        strict: bool = True,
        tell: Callable[[torch.Tensor, torch.Tensor], bool] | None = None,
    ) -> None:
        self.probe = probe.to(model.device)
        self.threshold, self.ends, self.most, self.strict = threshold, ends, most, strict
        self.tell = tell
        self._ear = Ear(model, probe.layers)
        self._busy, self._thread = threading.Lock(), threading.local()
        weakref.finalize(self, self._ear.close)
        self._begin()

    def _begin(self) -> None:
        self._ids: torch.Tensor | None = None
        self._before: Pass | None = None
        self._scores: list[torch.Tensor] = []
        self._total: torch.Tensor | None = None
        self._stopped: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs) -> torch.BoolTensor:
        if not self._busy.acquire(blocking=False):
            raise _at_once()
        try:
            return self._step(input_ids)
        finally:
            self._busy.release()

    def _step(self, ids: torch.Tensor) -> torch.BoolTensor:
        passes, old = self._ear.take(), self._thread.__dict__.get("ids")
        grown = old is not None and ids.shape == (len(old), old.shape[1] + 1)
        goes_on = grown and torch.equal(ids[:, :-1], old)
        if goes_on and old is not self._ids:
            raise _at_once()
        last = check(passes, ids, self._before, goes_on)
        if not goes_on:
            self._begin()
        self._ids, self._before, self._thread.ids = ids, last, ids
        return self._read(last.states)

    def _read(self, states: torch.Tensor) -> torch.BoolTensor:
        now = self.probe(states)
        self._total = now if self._total is None else self._total + now
        n = len(self._scores) + 1
        score = self.probe.level(self._total, n)
        if not torch.isfinite(score).all():
            raise Unwatched(
                f"the model's states at token {n} are not finite",
                remedy="load the model in float32 or bfloat16",
            )
        self._scores.append(score)
        self._check_length(n)
        alarm = score >= self.threshold
        self._stopped = alarm if self._stopped is None else self._stopped | alarm
        if self.tell is not None and self.tell(self._ids[:, -1], score):
            return torch.ones_like(self._stopped).to(self._ids.device)
        return self._stopped.to(self._ids.device)

    def _check_length(self, n: int) -> None:
        if not self.most or n != self.most + 1:
            return
        problem = f"answers have more than the {self.most} tokens the threshold was calibrated on"
        remedy = f"max_new_tokens={self.most}, or fit the guard to longer answers"
        if self.strict:
            raise Unwatched(problem, remedy=f"{remedy}; or strict=False")
        warnings.warn(f"{problem}; {remedy}", stacklevel=2)

    @property
    def scores(self) -> np.ndarray:
        """(rows, tokens) float32, of the last generation; NaN behind the end of an answer."""
        if not self._scores:
            return np.zeros((0, 0), np.float32)
        found = torch.stack(self._scores, dim=1).float().cpu().numpy()
        behind = np.arange(found.shape[1]) >= self._lengths()[:, None]
        return np.where(behind, np.nan, found).astype(np.float32)

    @property
    def alarms(self) -> np.ndarray:
        """(rows,) of int: tokens of each answer at its alarm, the last of which raised it; 0: none."""
        hits = self.scores >= self.threshold
        return (
            np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)
            if hits.size
            else np.zeros(0, int)
        )

    def _lengths(self) -> np.ndarray:
        """Tokens of each answer: up to the first end token that only one and the same token follows."""
        n = len(self._scores)
        ids = self._ids[:, -n:].cpu().numpy()
        lengths = np.full(len(ids), n)
        for row, tokens in enumerate(ids):
            for at in np.flatnonzero(np.isin(tokens, list(self.ends))):
                if len(set(tokens[at + 1 :])) <= 1:
                    lengths[row] = at + 1
                    break
        return lengths


def _at_once() -> Unwatched:
    return Unwatched(
        "two threads generate with one criteria object",
        remedy="guard.criteria(model, tokenizer) for each of them",
    )
