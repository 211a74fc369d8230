"""Stop generation when a monitor alarms, for users of transformers' `generate`.

    from trustllm_repro.online.stop import MonitorStop

    stop = MonitorStop(model, tokenizer, monitor, threshold, layers=(15, 30))
    with stop.watching():
        model.generate(**inputs, stopping_criteria=StoppingCriteriaList([stop]))
    stop.alarms  # tokens read in each row when it was stopped; 0: not stopped

`monitor` is any fitted single-pass monitor or guard, `threshold` comes from online.studies.operate, which
says what risk it keeps on which calibration answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import StoppingCriteria

from trustllm_repro.errors import SettingsError
from trustllm_repro.models.local import ends_of
from trustllm_repro.online.generations.recorder import Hooks, to_half
from trustllm_repro.online.generations.statistics import likeliest, statistics
from trustllm_repro.online.generations.trace import Trace
from trustllm_repro.online.monitors.base import Monitor, Need, Seen

# What is not there while an answer is being generated for the first time.
_LATER = frozenset({Need.SAMPLES, Need.BRANCHES, Need.REPLIES})


class MonitorStop(StoppingCriteria):
    """Ends a row as soon as the danger after its last token reaches the threshold.

    Args:
        layers: those the monitor was fitted to, in the same order of recording.
        prompts: what the rows were asked, for monitors that read the prompt.

    Raises:
        SettingsError: a monitor that needs more than one pass, or a layer that does not exist.
    """

    def __init__(
        self, model: Any, tokenizer: Any, monitor: Monitor, threshold: float,
        layers: Sequence[int] = (), prompts: Sequence[str] = (),
    ) -> None:  # fmt: skip
        if later := monitor.needs & _LATER:
            raise SettingsError(
                f"the monitor {monitor.name!r} needs {', '.join(sorted(later))}",
                remedy="take one that a single pass feeds, or a guard",
            )
        self.model, self.tokenizer = model, tokenizer
        self.monitor, self.threshold, self.prompts = monitor, threshold, prompts
        self.hooks, self.ends = Hooks(model, layers), ends_of(model, tokenizer)
        self.logits: torch.Tensor | None = None
        self.rows: list[_Row] = []

    @property
    def alarms(self) -> list[int]:
        """Tokens of each row when it was stopped; 0 for one that was not."""
        return [row.alarm for row in self.rows]

    @contextmanager
    def watching(self) -> Iterator[MonitorStop]:
        """Listen to the model; forgets what was seen before."""

        def hear(module, args, output):
            self.logits = output[:, -1]

        self.rows = []
        handle = self.model.get_output_embeddings().register_forward_hook(hear)
        try:
            with self.hooks():
                yield self
        finally:
            handle.remove()
            self.logits = None

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs) -> torch.BoolTensor:
        if self.logits is None:
            raise SettingsError(
                "the stopping criterion hears nothing",
                remedy="generate inside `with x.watching():`",
            )
        if not self.rows:
            self.rows = [_Row() for _ in range(len(input_ids))]
        now = self._now(input_ids[:, -1])
        for b, row in enumerate(self.rows):
            row.ended = row.ended or now.ids[b] in self.ends  # from then on there is padding
            if not (row.alarm or row.ended):
                row.add(b, now)
                prompt = self.prompts[b] if self.prompts else ""
                danger = self.monitor([Seen(row.trace(), prompt)])[0][-1]
                row.alarm = len(row.ids) if danger >= self.threshold else 0
        return torch.tensor([row.alarm > 0 for row in self.rows], device=input_ids.device)

    def _now(self, tokens: torch.Tensor) -> _Now:
        """Brought from the model's device for all rows at once."""
        assert self.logits is not None
        known, ids = statistics(self.logits, tokens), tokens.tolist()
        begun = any(row.ids or row.ended for row in self.rows)
        first = () if begun else likeliest(self.logits)
        return _Now(
            ids, self.tokenizer.batch_decode([[i] for i in ids], skip_special_tokens=True),
            {name: values.detach().cpu().numpy() for name, values in vars(known).items()},
            {n: to_half(s[:, -1]).detach().cpu().numpy() for n, s in self.hooks.out.items()},
            [t.detach().cpu().numpy() for t in first],
        )  # fmt: skip


@dataclass(frozen=True)
class _Now:
    """One step of all rows; `first`: ids and log-probabilities of the likeliest first tokens."""

    ids: Sequence[int]
    pieces: Sequence[str]
    numbers: dict[str, np.ndarray]
    states: dict[int, np.ndarray]
    first: Sequence[np.ndarray]


class _Row:
    """One answer so far; the same numbers as online.generations.recorder keeps."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.pieces: list[str] = []
        self.numbers: dict[str, list[np.ndarray]] = {}
        self.states: dict[int, list[np.ndarray]] = {}
        self.first: tuple[np.ndarray, np.ndarray] | None = None
        self.alarm, self.ended = 0, False

    def add(self, b: int, now: _Now) -> None:
        """Row b of a step."""
        if self.first is None:
            self.first = now.first[0][b].astype(np.int32), now.first[1][b]
        self.ids.append(now.ids[b])
        self.pieces.append(now.pieces[b])
        for name, values in now.numbers.items():
            self.numbers.setdefault(name, []).append(values[b])
        for layer, found in now.states.items():
            self.states.setdefault(layer, []).append(found[b])

    def trace(self) -> Trace:
        assert self.first is not None
        return Trace(
            "", np.array(self.ids, np.int32), "".join(self.pieces),
            np.cumsum([len(p) for p in self.pieces], dtype=np.int32),
            first_ids=self.first[0], first_logp=self.first[1],
            hidden={n: np.stack(s) for n, s in self.states.items()},
            **{name: np.stack(values) for name, values in self.numbers.items()},
        )  # fmt: skip
