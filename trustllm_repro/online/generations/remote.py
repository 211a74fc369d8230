"""Answers of a model behind an endpoint, as far as it shows them: text, and perhaps the likeliest tokens.

An endpoint's answers go into the same store as those of a model on this machine, so a second run
asks nothing. What a trace lacks is NaN; see online/generations/levels.py for what can still be watched.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trustllm_repro.models.base import Completion, Request
from trustllm_repro.models.endpoint import LIKELIEST, Endpoint, TokenLogprobs
from trustllm_repro.online.generations import extras
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.collect import Collector
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.generations.levels import TEXT, TOP5, Level, top_only
from trustllm_repro.online.generations.tasks import LeftOut, OnlineTask
from trustllm_repro.online.generations.trace import Trace, common
from trustllm_repro.online.monitors.base import Need

# Tokens have no numbers here. A hash of the text serves, the same in every run; among 500 different
# tokens, two share a number with a chance of about 0.4.
NUMBERS = 2**18
REPLY_TOKENS = 4  # for "Yes", with a line's end or a quote before it


@dataclass
class RemoteCollector(Collector):
    """See Collector. `layers` stays empty."""

    model: Endpoint
    layers: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.identity = {**self.model.identity, "layers": []}

    def collect(
        self, task: OnlineTask, cases: Sequence[Case], needs: frozenset[Need]
    ) -> list[Generation]:
        """As Collector's. A prompt that failed for good is an empty trace with finish "error".

        Raises:
            LeftOut: given answers are to be read, or texts continued without a chat template
                where there is chat only. SourceMissing, SettingsError: see Endpoint.complete.
        """
        if any(c.answer is not None for c in cases):
            raise LeftOut(
                f"{task.title} reads given answers, and an endpoint is asked for its own only",
                remedy="give a model that runs on this machine",
            )
        return super().collect(task, cases, needs - {Need.BRANCHES})

    def level(self, seen: Sequence[Generation]) -> Level:
        """Text only, unless a token of any answer came with its log-probability."""
        return TOP5 if any(np.isfinite(s.trace.logp).any() for s in seen) else TEXT

    def _generated(
        self, requests: Sequence[Request], layers: Sequence[int]
    ) -> Iterator[list[tuple[int, Trace | None]]]:
        if not self.model.offered:
            form = "chat" if self.model.chat else "plain"
            raise LeftOut(
                f"{self.model.base} takes no {form} completions for {self.model.model!r}",
                remedy="see that address and model are right, or leave the task out with --task",
            )
        for batch in self.model.show(requests):
            yield [(i, trace_of(done, shown)) for i, done, shown in batch]

    def _yes(self) -> extras.Yes:
        return lambda prompts: probability_of_yes(self.model, prompts)


def trace_of(done: Completion, shown: Sequence[TokenLogprobs]) -> Trace:
    """What is known of an answer.

    Args:
        shown: its tokens. Without any, the pieces of the trace are words, each with the blanks
            before it, and all numbers are NaN.

    Entropy is that of the likeliest tokens (levels.top_only). A place at which fewer than two of
    them are known has none.
    """
    text = done.text or ""
    pieces = [s.said for s in shown] or [w.encode("utf-8", "surrogatepass") for w in words(text)]
    n, k = len(pieces), LIKELIEST
    top_ids, top_logp = np.full((n, k), -1, np.int32), np.full((n, k), np.nan, np.float32)
    for i, likeliest in enumerate(s.likeliest for s in shown):
        if len(likeliest) > 1:
            top_logp[i] = -np.inf
            top_ids[i, : len(likeliest)] = [number(t) for t, _ in likeliest]
            top_logp[i, : len(likeliest)] = [p for _, p in likeliest]
    first = np.isfinite(top_logp[0]) if n else np.zeros(k, bool)
    none = np.full(n, np.nan, np.float32)
    trace = Trace(
        "", np.array([number(s.said.decode("utf-8", "replace")) for s in shown] or [-1] * n, np.int32),
        text, ends_of(pieces, text), np.array([s.nats for s in shown], np.float32) if shown else none,
        none, top_ids, top_logp,
        top_ids[0, first] if n else np.zeros(0, np.int32),
        top_logp[0, first] if n else np.zeros(0, np.float32),
        finish=str(done.finish), prompt_tokens=done.prompt_tokens,
    )  # fmt: skip
    return top_only(trace) if shown else trace


def words(text: str) -> list[str]:
    """Pieces of a text that make it up again: words, each with the blanks before it."""
    found = re.findall(r"\s*\S+", text)
    rest = text[sum(map(len, found)) :]
    return [*found[:-1], found[-1] + rest] if found else [text] if text else []


def number(token: str) -> int:
    """Of a token's text, below NUMBERS."""
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) % NUMBERS


def ends_of(pieces: Sequence[bytes], text: str) -> np.ndarray:
    """Characters of `text` that the first i + 1 pieces make up, (n,) int32, never falling.

    Servers cut blanks off the text's ends, and may add an end token to the pieces. Where the pieces
    make up another text all the same, the characters are shared out by their lengths.
    """
    for cut in (lambda said: said, str.lstrip):
        body, said, found = cut(text), b"", []
        for piece in pieces:
            said += piece
            found.append(len(text) - len(body) + common(cut(said.decode("utf-8", "replace")), body))
        ends = np.maximum.accumulate(np.array(found, dtype=np.int32), dtype=np.int32)
        if not len(ends) or ends[-1] >= len(text.rstrip()) > 0 or ends[-1] == len(text):
            return ends
    sizes = np.cumsum([len(p) for p in pieces])
    return (len(text) * sizes // max(int(sizes[-1]), 1)).astype(np.int32)


_WORD = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


def probability_of_yes(model: Endpoint, prompts: Sequence[str]) -> np.ndarray:
    """(prompts,), against "no", read where the endpoint shows either among the likeliest tokens.

    Where it shows no log-probabilities, by the word it says: 1 or 0. NaN: neither.
    """
    found = np.full(len(prompts), np.nan)
    for batch in model.show([Request(p, REPLY_TOKENS) for p in prompts]):
        for i, done, shown in batch:
            found[i] = _of_tokens(shown) if shown else _of_word(done.text or "")
    return found


def _of_tokens(shown: Sequence[TokenLogprobs]) -> float:
    for token in shown:
        yes, no = (
            sum(np.exp(p) for t, p in token.likeliest if t.strip(" \n\"'.*").lower() == word)
            for word in ("yes", "no")
        )
        if yes + no > 0:
            return float(yes / (yes + no))
    return float("nan")


def _of_word(text: str) -> float:
    said = _WORD.search(text)
    return float(said[1].lower() == "yes") if said else float("nan")
