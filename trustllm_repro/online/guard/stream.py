"""An answer piece by piece, each held back until the guard has seen it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import torch

from trustllm_repro.online.guard.criteria import GuardCriteria
from trustllm_repro.online.guard.piece import Piece


def stream(
    criteria: GuardCriteria, model: Any, tokenizer: Any, messages: Any, asked: dict[str, Any]
) -> Iterator[Piece]:
    """See Guard.stream. Whoever stops reading stops the model, too."""
    told: queue.Queue[tuple[int, float] | BaseException | None] = queue.Queue()
    left = threading.Event()

    def tell(ids: torch.Tensor, scores: torch.Tensor) -> bool:
        told.put((int(ids[0]), float(scores[0])))
        return left.is_set()

    def generate() -> None:
        try:
            model.generate(**_inputs(model, tokenizer, messages), **settings)
            told.put(None)
        except BaseException as e:  # handed to the reader, who must not take silence for an end
            told.put(e)

    criteria.tell = tell
    settings = {"max_new_tokens": criteria.most} | asked | {"stopping_criteria": [criteria]}
    thread = threading.Thread(target=generate, daemon=True)
    thread.start()
    try:
        yield from _pieces(told, tokenizer, criteria)
    finally:
        left.set()
        thread.join()


def _inputs(model: Any, tokenizer: Any, messages: Any) -> dict[str, torch.Tensor]:
    text = messages
    if not isinstance(messages, str):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    plain = isinstance(messages, str)
    return tokenizer(text, return_tensors="pt", add_special_tokens=plain).to(model.device)


def _pieces(told: queue.Queue, tokenizer: Any, criteria: GuardCriteria) -> Iterator[Piece]:
    ids: list[int] = []
    given = ""
    while (one := told.get()) is not None:
        if isinstance(one, BaseException):
            raise one
        token, score = one
        if score >= criteria.threshold:
            yield Piece("", score, alarm=True)
            return
        ids.append(token)
        text = tokenizer.decode(ids, skip_special_tokens=True)
        # A character of several tokens decodes as a replacement until its last one.
        new = text[len(given) :] if not text.endswith("\ufffd") else ""
        given += new
        yield Piece(new, score)
    rest = tokenizer.decode(ids, skip_special_tokens=True)[len(given) :]
    if rest:
        yield Piece(rest, score)
