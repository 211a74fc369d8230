"""The lists of language.toml, and words as patterns; `words.verbs` is the list of that name."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from types import SimpleNamespace

# Letters, digits and the underscore of Latin script, as a character set of lower-case text. Words
# end where they end, also beside scripts without blanks.
LATIN = "a-z0-9_à-öø-ÿœ"
# Chinese and Japanese characters: each is a word of its own, as no blanks stand between words.
HAN = "\u3040-\u30ff\u3400-\u9fff"


def one_line(pattern: str) -> str:
    """A list as it is written: a line break means nothing, a blank is any blank."""
    return pattern.strip("\n").replace("\n", "").replace(" ", r"\s")


def as_group(pattern: str) -> str:
    """A list of words as one group."""
    return f"(?:{one_line(pattern)})"


def either(words: str) -> str:
    """Any of the words; blanks part them, an underscore is a blank within one."""
    return as_group("|".join(words.split()).replace("_", " "))


def _filled(pattern: str) -> str:
    """A list with the lists it names."""
    return re.sub(r"<([a-z_]+)>", lambda m: _filled(_LISTS[m[1]]), pattern.strip("\n"))


_LISTS: dict[str, str] = tomllib.loads((files(__package__) / "language.toml").read_text("utf-8"))
words = SimpleNamespace(**{name: _filled(pattern) for name, pattern in _LISTS.items()})
# Yes and no as answers: pattern of words, and of characters of scripts without blanks.
YES = one_line(words.yes), words.yes_cjk
NO = one_line(words.no), words.no_cjk
