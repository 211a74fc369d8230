"""A guard before a server: reads the stream of any OpenAI-compatible endpoint.

Such a stream shows text, so the guard's words are what reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from trustllm_repro.online.guard.hearing import Unwatched
from trustllm_repro.online.guard.piece import Piece
from trustllm_repro.online.guard.words import Reading, WordProbe

# Fields of a message that are text a reader may see, or act on, besides `content`.
_UNREAD = ("tool_calls", "function_call", "audio", "reasoning", "reasoning_content")


def watch(words: WordProbe, threshold: float, chunks: Iterable[Any]) -> Iterator[Piece]:
    """Pieces of the answer, each given out when it has been read; at the alarm the stream is closed.

    Args:
        chunks: of chat or plain completions with one answer, as the `openai` client gives them, or
            as dictionaries.

    Raises:
        Unwatched: a chunk with several answers, or with something that is no text.
    """
    reading = Reading()
    try:
        for chunk in chunks:
            text, last = _text(chunk)
            score = words.add(reading, text, end=last)
            if score >= threshold:
                yield Piece("", score, alarm=True)
                return
            if text:
                yield Piece(text, score)
        # A stream that ends without saying so: its last word has not been read.
        score = words.add(reading, "", end=True)
        if score >= threshold:
            yield Piece("", score, alarm=True)
    finally:
        with suppress(AttributeError):
            chunks.close()  # type: ignore[attr-defined]


def _text(chunk: Any) -> tuple[str, bool]:
    """What a chunk adds, and whether it is the last."""
    data = chunk if isinstance(chunk, dict) else chunk.model_dump()
    choices = data.get("choices") or []
    if not choices:  # figures of use, at the end
        return "", False
    if len(choices) > 1 or choices[0].get("index", 0) != 0:
        raise Unwatched("the stream holds several answers", remedy="ask with n=1")
    choice = choices[0]
    delta = choice.get("delta") or {}
    if other := [name for name in _UNREAD if delta.get(name)]:
        raise Unwatched(
            f"the stream holds {other[0]}, which the guard does not read",
            remedy="ask for text alone",
        )
    text = delta.get("content") or delta.get("refusal") or choice.get("text") or ""
    return text, choice.get("finish_reason") is not None
