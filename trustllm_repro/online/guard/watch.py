"""A guard before a server: reads the stream of any OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from trustllm_repro.models.endpoint import TOP_LOGPROBS, TokenLogprobs, read_logprobs
from trustllm_repro.online.guard.criteria import Piece, Unwatched
from trustllm_repro.online.monitors.running import Mean, entropy_of
from trustllm_repro.online.monitors.texts import Reading, Words

WORDS, ENTROPY = "words", "words + entropy"  # what reads a stream
# Fields of a message that are text a reader may see, or act on, besides `content`.
_UNREAD = ("tool_calls", "function_call", "audio", "reasoning", "reasoning_content")
# Fewer than TOP_LOGPROBS tokens are enough if nothing is left of the distribution beyond them.
_WHOLE = 0.999
_ASK = f"ask for logprobs=True, top_logprobs={TOP_LOGPROBS}; or reader={WORDS!r}"


@dataclass
class Watch:
    """One stream as it is read."""

    words: Words  # scores the text
    weight: float  # of the mean entropy of the most likely tokens
    thresholds: Mapping[str, float]  # of the readers that may be used
    most: int  # tokens of the longest answer; they can be counted with log-probabilities only
    reader: str = ""  # the one in use, known from the first piece on
    reading: Reading = field(default_factory=Reading)
    entropy: Mean = field(default_factory=Mean)

    def pieces(self, chunks: Iterable[Any]) -> Iterator[Piece]:
        """See Guard.watch."""
        try:
            # A stream may end without saying so: its last word has not been read.
            for text, shown, last in chain(map(_read, chunks), [("", [], True)]):
                score = self.score(text, shown, last)
                if self.reader and score >= self.thresholds[self.reader]:
                    yield Piece("", score, alarm=True)
                    return
                if text:
                    yield Piece(text, score)
        finally:
            with suppress(AttributeError):
                chunks.close()  # type: ignore[attr-defined]

    def score(self, text: str, shown: Sequence[TokenLogprobs], last: bool) -> float:
        """With what is new of an answer, and its tokens where they are shown."""
        if not self.reader and (text or shown):
            whole = bool(shown) and all(map(_complete, shown))
            self.reader = ENTROPY if whole and ENTROPY in self.thresholds else WORDS
            if self.reader not in self.thresholds:
                raise Unwatched("the stream does not begin with log-probabilities", remedy=_ASK)
        score = self.words.add(self.reading, text, end=last)
        if self.reader != ENTROPY:
            return score
        if text and not shown:
            raise Unwatched(
                "the stream has stopped sending log-probabilities",
                remedy=f"a server that sends them with every piece; or reader={WORDS!r}",
            )
        if not all(map(_complete, shown)):
            raise Unwatched(
                f"not all of the {TOP_LOGPROBS} most likely tokens are shown", remedy=_ASK
            )
        top = [np.array([nats for _, nats in token.top]) for token in shown]
        self.entropy.add(np.array([entropy_of(nats) for nats in top]))
        if self.entropy.n > self.most:
            raise Unwatched(
                f"the answer has more than the {self.most} tokens the threshold was calibrated on",
                remedy=f"ask for max_tokens={self.most}",
            )
        return score + self.weight * self.entropy.total / max(self.entropy.n, 1)


def _complete(token: TokenLogprobs) -> bool:
    """Whether as many of the most likely tokens are shown as count, or all there can be."""
    shown = [nats for _, nats in token.top]
    return len(shown) >= TOP_LOGPROBS or np.exp(shown).sum() > _WHOLE


def _read(chunk: Any) -> tuple[str, list[TokenLogprobs], bool]:
    """What a chunk adds, with its tokens where they are shown, and whether it is the last."""
    data = chunk.model_dump() if hasattr(chunk, "model_dump") else chunk
    if not isinstance(data, dict) or data.get("error") or "choices" not in data:
        raise Unwatched(
            "the stream holds an error, or something that is no chunk of a completion",
            remedy="give the stream of chat.completions.create or completions.create",
        )
    choices = data["choices"] or []
    if not choices:  # figures of use, at the end, or a filter's of the prompt, before it
        return "", [], False
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
    if not isinstance(text, str) or choice.get("message"):
        raise Unwatched(
            "the stream holds an answer in a form that is not read", remedy="stream=True"
        )
    return text, read_logprobs(choice), choice.get("finish_reason") is not None
