"""A generation: one answer as monitors see it, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trustllm_repro.online.generations.trace import Trace


@dataclass(frozen=True, eq=False)
class Generation:
    """One answer of a model, or one given answer that a model has read. What nobody asked for is empty.

    Attributes:
        trace: the answer token by token.
        prompt: what the model was asked.
        model, task, case: the case's number within its task.
        group: answers to one prompt share it.
        unsafe: by the judge of the task; None: it cannot tell. disputed: those who labelled differ.
        author: who wrote a given answer, where that is known.
        samples: traces of further answers to the prompt.
        branches: kind of position -> texts of the answers that go on from other tokens there.
        replies: name of a question -> (checkpoints, 3): tokens read, score from 0 to 1, and the
            score if of each reply only the word is known, yes or no.
    """

    trace: Trace
    prompt: str = ""
    model: str = ""
    task: str = ""
    case: int = 0
    group: str = ""
    unsafe: bool | None = None
    disputed: bool = False
    author: str = ""
    samples: Sequence[Trace] = ()
    branches: Mapping[str, Sequence[str]] = field(default_factory=dict)
    replies: Mapping[str, np.ndarray] = field(default_factory=dict)
