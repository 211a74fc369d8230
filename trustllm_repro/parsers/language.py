"""The lists of language.toml as patterns; `words.verbs` is the list of that name."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from types import SimpleNamespace

from trustllm_repro.parsers.pattern import one_line

_LISTS: dict[str, str] = tomllib.loads((files(__package__) / "language.toml").read_text("utf-8"))


def _filled(pattern: str) -> str:
    """A list with the lists it names."""
    return re.sub(r"<([a-z_]+)>", lambda m: _filled(_LISTS[m[1]]), pattern.strip("\n"))


words = SimpleNamespace(**{name: _filled(pattern) for name, pattern in _LISTS.items()})
# Yes and no as answers: pattern of words, and of characters of scripts without blanks.
YES = one_line(words.yes), words.yes_cjk
NO = one_line(words.no), words.no_cjk
