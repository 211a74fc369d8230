"""A trace: one answer seen token by token."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Trace:
    """What is known of every token of one answer, n tokens long.

    Everything about token i is known before it is shown: its distribution, and the hidden state
    that distribution was computed from (that of the token before it; for the first, the prompt's
    last). So a monitor that reads a trace up to token i could have held that token back.

    Attributes:
        key: of the request, or of the text that was read; see models.base.content_key.
        ids: (n,) int32.
        text: the answer. ends: (n,) int32, characters of `text` that tokens 0 to i make up.
        logp: (n,) float32, nats, of the chosen token.
        entropy: (n,) float32, nats, of the whole distribution.
        top_ids, top_logp: (n, k), the k likeliest tokens, best first, int32 and float32 nats.
        first_ids, first_logp: (m,), the m likeliest first tokens, best first, int32 and float32
            nats.
        hidden: layer, from 1 to the number of blocks -> (n, size) float16, the block's output.
        finish: why it ended ("given" for text that was read, not generated).
        prompt_tokens: what the model saw before.
    """

    key: str
    ids: np.ndarray
    text: str
    ends: np.ndarray
    logp: np.ndarray
    entropy: np.ndarray
    top_ids: np.ndarray
    top_logp: np.ndarray
    first_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    first_logp: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    hidden: Mapping[int, np.ndarray] = field(default_factory=dict)
    finish: str = "given"
    prompt_tokens: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def prefix(self, n: int) -> str:
        """Text of the first n tokens."""
        return self.text[: self.ends[n - 1]] if n > 0 and len(self) else ""

    def part(self, start: int, stop: int) -> Trace:
        """Tokens `start` to `stop` - 1, with their text; `finish` is "" if others follow."""
        ends = self.ends[:stop]
        before = int(ends[start - 1]) if start else 0
        of_token = {
            name: getattr(self, name)[start:stop]
            for name in ("ids", "logp", "entropy", "top_ids", "top_logp")
        }
        first = slice(0, 0) if start else slice(None)  # the first token alone has it
        return replace(
            self,
            text=self.text[before : ends[-1]] if len(ends) else "",
            ends=ends[start:] - before,
            first_ids=self.first_ids[first],
            first_logp=self.first_logp[first],
            hidden={layer: states[start:stop] for layer, states in self.hidden.items()},
            finish="" if stop < len(self) else self.finish,
            **of_token,
        )


# The sign that ends a sentence, with closing quotes and ends of lines; or the end of a line.
_END = re.compile(r"""(?:[.!?]+["')\]]*(?=\s)|[。！？])\n*|\n+""")


def sentence_ends(text: str) -> np.ndarray:
    """Where sentences end, as numbers of characters; the text's own end is not among them."""
    return np.array([m.end() for m in _END.finditer(text) if m.end() < len(text)], dtype=np.int64)


def token_ends(tokenizer, ids: Sequence[int], text: str) -> np.ndarray:
    """Characters of `text` that the first i + 1 tokens make up, (n,) int32, never falling.

    A character of several tokens counts with its last one.
    """
    pieces = tokenizer.batch_decode([[i] for i in ids], skip_special_tokens=True)
    if "".join(pieces) == text:
        return np.cumsum([len(p) for p in pieces], dtype=np.int32)
    said = tokenizer.batch_decode(
        [list(ids[: i + 1]) for i in range(len(ids))], skip_special_tokens=True
    )
    lengths = [common(s, text) for s in said]
    return np.maximum.accumulate(np.array(lengths, dtype=np.int32), dtype=np.int32)


def common(said: str, text: str) -> int:
    """Length of the beginning that both share: bytes of an unfinished character decode oddly."""
    if text.startswith(said):
        return len(said)
    return next((i for i, (a, b) in enumerate(zip(said, text, strict=False)) if a != b), len(text))
