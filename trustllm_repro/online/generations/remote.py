"""Answers of a model behind an endpoint, as far as it shows them: text, and perhaps the most likely tokens.

They go into the same folders as those of a model on this machine, so a second run asks nothing.
What a trace lacks is NaN; online/generations/levels.py says what can still be watched.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trustllm_repro.models.base import Completion, Request
from trustllm_repro.models.endpoint import Endpoint
from trustllm_repro.models.logprobs import LIKELIEST, TokenLogprobs
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.collect import Collector
from trustllm_repro.online.generations.generation import Generation, Trace, shared_ends
from trustllm_repro.online.generations.levels import top_only
from trustllm_repro.online.generations.tasks import LeftOut, OnlineTask
from trustllm_repro.online.monitors.base import Need

# Tokens have no numbers here. A hash of the text serves, the same in every run; among 500 different
# tokens, two share a number with a chance of about 0.4.
NUMBERS = 2**18
REPLY_TOKENS = 4  # for "Yes", with a line's end or a quote before it


@dataclass
class RemoteCollector(Collector):
    """See Collector. `layers` stays empty."""

    model: Endpoint

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

    def _made(
        self, requests: Sequence[Request], texts: Sequence[str]
    ) -> Iterator[list[tuple[int, Trace]]]:
        if not self.model.offered:
            form = "chat" if self.model.chat else "plain"
            raise LeftOut(
                f"{self.model.server.base} takes no {form} completions for {self.model.model!r}",
                remedy="see that address and model are right, or leave the task out with --task",
            )
        for batch in self.model.show(requests):
            yield [(i, trace_of(done, shown)) for i, done, shown in batch]

    def _yes(self, prompts: Sequence[str]) -> np.ndarray:
        """Read where the endpoint shows "yes" or "no" among the most likely tokens; where it shows
        no log-probabilities, by the word it says: 1 or 0."""
        found = np.full(len(prompts), np.nan)
        for batch in self.model.show([Request(p, REPLY_TOKENS) for p in prompts]):
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
    said = re.search(r"\b(yes|no)\b", text, re.IGNORECASE)
    return float(said[1].lower() == "yes") if said else float("nan")


def trace_of(done: Completion, shown: Sequence[TokenLogprobs]) -> Trace:
    """What is known of an answer of which these tokens were shown.

    Without any, the pieces of the trace are words, and all numbers are NaN. Entropy is that of the
    most likely tokens (levels.top_only); a place at which fewer than two are known has none.
    """
    text = done.text or ""
    pieces = [s.said for s in shown] or [w.encode("utf-8", "surrogatepass") for w in words(text)]
    n, k = len(pieces), LIKELIEST
    ids, logp = np.full(n, -1, np.int32), np.full(n, np.nan, np.float32)
    top_ids, top_logp = np.full((n, k), -1, np.int32), np.full((n, k), np.nan, np.float32)
    for i, token in enumerate(shown):
        ids[i], logp[i] = number(token.said.decode("utf-8", "replace")), token.nats
        if (m := len(token.likeliest)) > 1:
            top_ids[i, :m] = [number(t) for t, _ in token.likeliest]
            top_logp[i, :m] = [p for _, p in token.likeliest]
            top_logp[i, m:] = -np.inf
    first = np.isfinite(top_logp[:1]).ravel()
    trace = Trace(
        "", ids, text, ends_of(pieces, text), logp, np.full(n, np.nan, np.float32), top_ids,
        top_logp, top_ids[:1].ravel()[first], top_logp[:1].ravel()[first],
        finish=str(done.finish), prompt_tokens=done.prompt_tokens,
    )  # fmt: skip
    return top_only(trace) if shown else trace


def words(text: str) -> list[str]:
    """Pieces of a text that make it up again: words, each with the blanks before it."""
    return re.findall(r"\s*\S+(?:\s+\Z)?|\s+\Z", text)


def number(token: str) -> int:
    """Of a token's text, below NUMBERS."""
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) % NUMBERS


def ends_of(pieces: Sequence[bytes], text: str) -> np.ndarray:
    """Characters of `text` that the first i + 1 pieces make up, (n,) int32, never falling.

    Servers cut blanks off the text's ends, and may add an end token to the pieces. Where the pieces
    make up another text all the same, the characters are shared out by their lengths.
    """
    sizes = np.cumsum([len(p) for p in pieces], dtype=np.int64)
    said = [b"".join(pieces)[:n].decode("utf-8", "replace") for n in sizes]
    if text[:1].strip():
        said = [s.lstrip() for s in said]
    ends = shared_ends(said, text)
    if not len(ends) or ends[-1] >= len(text.rstrip()):
        return ends
    return (len(text) * sizes // max(int(sizes[-1]), 1)).astype(np.int32)
