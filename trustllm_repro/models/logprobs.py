"""Log-probabilities of an answer's tokens as OpenAI-compatible servers send them.

Servers differ, and leave out what they do not know. So nothing here raises: a number that is none
is NaN, and a list that cannot be read, or does not fit its tokens, counts as not sent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

LIKELIEST = 5  # as many as servers usually give
_NOT_TOLD = -9999.0  # what OpenAI's servers send for "too unlikely to be told"


@dataclass(frozen=True)
class TokenLogprobs:
    """One token of an answer, as a server shows it.

    Attributes:
        said: its bytes, which may be part of a character.
        nats: its log-probability; NaN where it was not sent.
        likeliest: (text, nats) of the likeliest tokens at its place, best first.
    """

    said: bytes
    nats: float
    likeliest: tuple[tuple[str, float], ...] = ()


def asked(chat: bool) -> dict[str, Any]:
    """What a request for chat, or for plain completions, must hold to be answered with them."""
    return {"logprobs": True, "top_logprobs": LIKELIEST} if chat else {"logprobs": LIKELIEST}


def read_logprobs(choice: Any) -> list[TokenLogprobs]:
    """The answer's tokens; [] where the server shows none, or not in a form that is known.

    Args:
        choice: one of the answer's "choices". Chat has {"content": [{"token", "logprob",
            "top_logprobs"} ...]}, plain completions {"tokens", "token_logprobs", "top_logprobs"};
            some servers send the former for both.
    """
    given = choice.get("logprobs") if isinstance(choice, dict) else None
    if not isinstance(given, dict):
        return []
    items = given.get("content")
    items = items if isinstance(items, list) else _as_chat(given)
    if not all(isinstance(i, dict) and isinstance(i.get("token"), str) for i in items):
        return []  # without one token the others have no place in the text
    return [
        TokenLogprobs(_bytes(i), _nats(i.get("logprob")), _likeliest(i.get("top_logprobs")))
        for i in items
    ]


def _as_chat(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Plain completions' lists in the form of chat. A list of another length than the tokens' says
    nothing: which token each value is of, nobody knows."""
    tokens = given.get("tokens")
    if not isinstance(tokens, list):
        return []
    none = [None] * len(tokens)
    nats, tops = given.get("token_logprobs"), given.get("top_logprobs")
    nats, tops = (v if isinstance(v, list) and len(v) == len(none) else none for v in (nats, tops))
    return [
        {"token": token, "logprob": p, "top_logprobs": top}
        for token, p, top in zip(tokens, nats, tops, strict=True)
    ]


def _bytes(item: dict[str, Any]) -> bytes:
    """The token's bytes where the server sends them: the text of half a character says nothing."""
    sent = item.get("bytes")
    try:
        said = bytes(sent) if isinstance(sent, list) else b""
    except (ValueError, TypeError):
        said = b""
    return said or item["token"].encode("utf-8", "surrogatepass")


def _nats(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return min(float(value), 0.0) if _NOT_TOLD < value <= 1e-3 else math.nan


def _likeliest(top: Any) -> tuple[tuple[str, float], ...]:
    """From chat's list of objects, or the object {text: nats} of plain completions."""
    if isinstance(top, dict):
        top = [{"token": t, "logprob": p} for t, p in top.items()]
    items = [o for o in top if isinstance(o, dict)] if isinstance(top, list) else []
    pairs = [(o.get("token"), _nats(o.get("logprob"))) for o in items]
    known = [(t, p) for t, p in pairs if isinstance(t, str) and not math.isnan(p)]
    return tuple(sorted(known, key=lambda pair: -pair[1])[:LIKELIEST])
