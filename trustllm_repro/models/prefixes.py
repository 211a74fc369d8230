"""Which prompts share a prefix, and in what order to answer them.

Prompts of one task share their instructions; those tokens are computed once and their keys and
values copied. A prefix is worth that if enough prompts share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """A prompt as tokens. `prefix` tokens of it are shared with at least one other prompt."""

    index: int
    tokens: Tokens
    prefix: int = 0

    @property
    def shared(self) -> Tokens:
        return self.tokens[: self.prefix]


def common(a: Tokens, b: Tokens) -> int:
    """Length of the common prefix."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def shared_prefixes(prompts: Sequence[Tokens], least: int, share: int = 16) -> list[int]:
    """For each prompt, the length of the longest prefix it shares with `share` - 1 others.

    0 where that is under `least` tokens. At least one token is always left over, because the
    model must read something to predict what follows.
    """
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    ordered = [prompts[i] for i in order]
    step = [common(a, b) for a, b in pairwise(ordered)]
    depth = [0] * len(prompts)
    for first in range(len(ordered) - share + 1):
        low = min(step[first : first + share - 1])
        for at in range(first, first + share):
            depth[at] = max(depth[at], low)
    found = [0] * len(prompts)
    for at, i in enumerate(order):
        n = min(depth[at], len(prompts[i]) - 1)
        found[i] = n if n >= least else 0
    return found


def schedule(prompts: Sequence[Tokens], least: int, share: int = 16) -> list[Prompt]:
    """Prompts in the order to answer them: equal prefixes together, long ones first.

    Groups follow each other by their longest prompt, so the longest of all come first: if memory
    is short, that shows at once.
    """
    depth = shared_prefixes(prompts, least, share)
    made = [Prompt(i, tokens, depth[i]) for i, tokens in enumerate(prompts)]
    longest: dict[Tokens, int] = {}
    for p in made:
        longest[p.shared] = max(longest.get(p.shared, 0), len(p.tokens))
    return sorted(made, key=lambda p: (-longest[p.shared], p.shared, -len(p.tokens), p.index))
