"""Log-probabilities of an answer's tokens as OpenAI-compatible servers send them.

Servers differ, and leave out what they do not know. So nothing here raises: a number that is none
is NaN, and a list that cannot be read, or does not fit its tokens, counts as not sent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LIKELIEST = 5  # as many as servers usually give
# What OpenAI's servers send for "too unlikely to be told".
_NOT_TOLD = -9999.0


@dataclass(frozen=True)
class Shown:
    """One token of an answer, as a server shows it.

    Attributes:
        said: its bytes, which may be part of a character.
        nats: its log-probability; NaN where it was not sent.
        likeliest: (text, nats) of the likeliest tokens at its place, best first.
    """

    said: bytes
    nats: float
    likeliest: tuple[tuple[str, float], ...] = ()


def asked(chat: bool, most: int = LIKELIEST) -> dict[str, Any]:
    """What a request for chat, or for plain completions, must hold to be answered with them."""
    return {"logprobs": True, "top_logprobs": most} if chat else {"logprobs": most}


def read_logprobs(choice: Any, most: int = LIKELIEST) -> list[Shown]:
    """The answer's tokens; [] where the server shows none, or not in a form that is known.

    Args:
        choice: one of the answer's "choices". Chat has {"content": [{"token", "logprob",
            "top_logprobs"} ...]}, plain completions {"tokens", "token_logprobs", "top_logprobs"};
            some servers send the former for both.
    """
    given = choice.get("logprobs") if isinstance(choice, dict) else None
    if not isinstance(given, dict):
        return []
    if isinstance(given.get("content"), list):
        return _of_chat(given["content"], most)
    return _of_plain(given, most)


def _of_chat(items: Sequence[Any], most: int) -> list[Shown]:
    found = []
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("token"), str):
            return []  # without one token the others have no place in the text
        others = item.get("top_logprobs")
        pairs = [(o.get("token"), o.get("logprob")) for o in _dicts(others)]
        found.append(Shown(_bytes(item), _nats(item.get("logprob")), _best(pairs, most)))
    return found


def _of_plain(given: dict[str, Any], most: int) -> list[Shown]:
    tokens = given.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
        return []
    nats = _fitting(given.get("token_logprobs"), len(tokens))
    tops = _fitting(given.get("top_logprobs"), len(tokens))
    return [
        Shown(
            t.encode("utf-8", "surrogatepass"), _nats(p),
            _best(list(top.items()) if isinstance(top, dict) else [], most),
        )
        for t, p, top in zip(tokens, nats, tops, strict=True)
    ]  # fmt: skip


def _fitting(values: Any, n: int) -> list[Any]:
    """A list of another length says nothing: which token each value is of, nobody knows."""
    return values if isinstance(values, list) and len(values) == n else [None] * n


def _dicts(items: Any) -> list[dict[str, Any]]:
    return [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []


def _bytes(item: dict[str, Any]) -> bytes:
    """The token's bytes where the server sends them: the text of half a character says nothing."""
    sent = item.get("bytes")
    try:
        if isinstance(sent, list) and sent:
            return bytes(sent)
    except (ValueError, TypeError):
        pass
    return item["token"].encode("utf-8", "surrogatepass")


def _nats(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    known = _NOT_TOLD < value <= 1e-3 and math.isfinite(value)
    return min(float(value), 0.0) if known else math.nan


def _best(pairs: Sequence[tuple[Any, Any]], most: int) -> tuple[tuple[str, float], ...]:
    known = [(t, _nats(p)) for t, p in pairs if isinstance(t, str)]
    known = [(t, p) for t, p in known if not math.isnan(p)]
    return tuple(sorted(known, key=lambda pair: -pair[1])[:most])
