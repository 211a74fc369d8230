"""Lists of words as patterns that are quick to search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

# Letters, digits and the underscore of Latin script, as a character set of lower-case text. Words
# end where they end, also beside scripts without blanks.
LATIN = "a-z0-9_à-öø-ÿœ"
# Chinese and Japanese characters: each is a word of its own, as no blanks stand between words.
HAN = "\u3040-\u30ff\u3400-\u9fff"


def alternatives(pattern: str) -> list[str]:
    """The alternatives of a pattern, split at the bars that stand outside all brackets."""
    parts, depth, begin, skip = [], 0, 0, False
    for i, c in enumerate(pattern):
        if skip:
            skip = False
        elif c == "\\":
            skip = True
        elif c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
        elif c == "|" and depth == 0:
            parts.append(pattern[begin:i])
            begin = i + 1
    return [*parts, pattern[begin:]]


def as_group(pattern: str) -> str:
    """A list of words as one group.

    Words that begin alike are tried together: a search tries one branch a letter, not one a word.
    """
    return _shared(alternatives(one_line(pattern)))


def one_line(pattern: str) -> str:
    """A list as it is written: a line break means nothing, a blank is any blank."""
    return pattern.strip("\n").replace("\n", "").replace(" ", r"\s")


def _shared(words: Sequence[str], depth: int = 0) -> str:
    """One group for words, with their first letters taken out in front."""

    def first(word: str) -> str:
        literal = word[:1].isalpha() and word[1:2] not in ("?", "*", "+", "{")
        return word[0] if literal else ""

    branches = []
    for letter, some in groupby(sorted(words, key=first), key=first):
        group = list(some)
        if not letter or len(group) == 1 or depth > 3:
            branches.extend(group)
        else:
            branches.append(letter + _shared([w[1:] for w in group], depth + 1))
    return f"(?:{'|'.join(branches)})"


def either(words: str) -> str:
    """Any of the words; blanks part them, an underscore is a blank within one."""
    return _shared([w.replace("_", r"\s") for w in words.split()])
