"""Where a text names options: by their letter or number, their words, or their full text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from trustllm_repro.parsers import context
from trustllm_repro.parsers.context import REACH
from trustllm_repro.parsers.language import LATIN
from trustllm_repro.parsers.plain import Sentence, plain


@dataclass(frozen=True)
class Option:
    """One answer a question allows.

    Attributes:
        label: what the verdict says.
        key: letter or number the prompt gives it, "" if none.
        words: pattern of its wordings in Latin script, matched as whole words in any case.
        cjk: the same for scripts without blanks between words.
        text: the option as the prompt spells it out, "" if its wordings say all.
        denied: label that denying this option amounts to, "" where it leaves the answer open.
    """

    label: str
    key: str = ""
    words: str = ""
    cjk: str = ""
    text: str = ""
    denied: str = ""


@dataclass(eq=False, slots=True)
class Mention:
    """One place where an option is named, and the part it plays (parsers.choice says which).

    Attributes:
        start, end: places in the plain text. sentence: number of its sentence.
        kind: "key", "word" or "text".
        strength, label: what it contributes; 0 and "" until it is judged.
        leads: nothing but an introduction stands before it in its sentence.
    """

    start: int
    end: int
    sentence: int
    option: Option
    kind: str
    strength: int = 0
    label: str = ""
    leads: bool = False
    denied: bool = False


# "Option three", "the third option": a key in words, or a place among the options.
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_CARDINALS = ("one", "two", "three", "four", "five")
_PLACES = (
    rf"(?:option|number)\s(?:{'|'.join(_CARDINALS)})"
    rf"|(?:{'|'.join(_ORDINALS)})\s(?:option|choice|answer|action|ending)"
)


def find_mentions(
    clean: str, parts: Sequence[Sentence], options: tuple[Option, ...], limit: float | None
) -> list[Mention]:
    """All mentions in order; an option named twice in one breath ("(2) Nervous") is one."""
    by_key = {o.key: o for o in options if o.key}
    found, s = [], 0
    for m in _finder(options).finditer(clean.lower()):
        while s < len(parts) and m.start() >= parts[s].end:
            s += 1
        if s == len(parts):
            break
        option, kind = _named_by(clean, parts[s], m, options, by_key, limit)
        if option is not None:
            new = Mention(m.start(), m.end(), s, option, kind)
            if found and _same(clean, found[-1], new):
                found[-1].end = m.end()
            else:
                found.append(new)
    return found


def _same(clean: str, a: Mention, b: Mention) -> bool:
    """Whether an option is named twice in one breath: "(2) Nervous", "B. I wait."."""
    gap = clean[a.end : b.start]
    one = a.option.label == b.option.label and a.kind != b.kind and a.sentence == b.sentence
    return one and len(gap) < 8 and not gap.strip(" \"'()[].,:=-")


def _named_by(
    clean: str, part: Sentence, m: re.Match[str], options: tuple[Option, ...],
    by_key: dict[str, Option], limit: float | None,
) -> tuple[Option | None, str]:  # fmt: skip
    """The option that a match names, and how; None if it is something else after all."""
    group = m.lastgroup or ""
    if group == "place":
        return _placed(m.group(), options, by_key), "key"
    if group not in ("letter", "number"):
        return options[int(group[1:])], "text" if group[0] == "t" else "word"
    left = clean[max(part.start, m.start() - REACH) : m.start()].lower()
    right = clean[m.end() : min(part.end, m.end() + REACH)].lower()
    if context.NO_OPTION.search(left):
        return None, ""
    if group == "letter":
        letter = clean[m.start()]
        if letter.islower() and not context.small_letter(left, right):
            return None, ""
        if letter in "AaEO" and context.ARTICLE.match(right):
            return None, ""
        return by_key.get(letter.upper()), "key"
    number = f"{float(m.group()):g}"
    option = by_key.get(number)
    rated = limit is not None
    if option is None and limit is not None and abs(float(number)) <= limit:
        stated = context.framed(left, rated) or context.bare(left, right)
        option = Option(number) if stated else None
    if option is None or not context.stands_for_option(left, right, rated):
        return None, ""
    return option, "key"


def _placed(name: str, options: tuple[Option, ...], by_key: dict[str, Option]) -> Option | None:
    """The option of such a name, if there are so many."""
    keyed = list(dict.fromkeys(by_key.values()))
    for word in name.split():
        if word in _CARDINALS and (found := by_key.get(str(_CARDINALS.index(word) + 1))):
            return found
        at = next((w.index(word) for w in (_ORDINALS, _CARDINALS) if word in w), len(keyed))
        if at < len(keyed):
            return keyed[at]
    return None


@cache
def _finder(options: tuple[Option, ...]) -> re.Pattern[str]:
    """One pattern, for lower-case text, of every way an option can be named.

    Groups tell which option (by its place) and how. Without the flag for any case, and with small
    character sets, a pattern is made in a tenth of the time; most items have one of their own.
    """
    parts = [f"(?P<t{i}>{_text_pattern(o.text)})" for i, o in enumerate(options) if o.text]
    for i, option in enumerate(options):
        if option.words:
            parts.append(rf"(?P<w{i}>(?<![{LATIN}])(?:{option.words})(?![{LATIN}]))")
        if option.cjk:
            parts.append(rf"(?P<c{i}>{option.cjk})")
    letters = "".join(o.key.lower() for o in options if o.key.isalpha())
    if letters:
        parts.append(rf"(?P<letter>(?<![{LATIN}&$'])[{letters}](?![{LATIN}]|[&'](?=[{LATIN}])))")
    if any(o.key for o in options):
        parts.append(rf"(?P<place>(?<![{LATIN}])(?:{_PLACES})(?![{LATIN}]))")
    if any(o.key and not o.key.isalpha() for o in options):
        parts.append(
            # A period or comma before a digit makes it a decimal, but not behind a Chinese sentence.
            rf"(?P<number>(?<![{LATIN}$€£/])(?<![^\u3400-\u9fff][.,])(?<!\A[.,])(?<![{LATIN}]-)[-+]?[0-9]{{1,3}}(?:\.[0-9]{{1,2}}(?![0-9]))?"
            rf"(?![{LATIN}]|[.,][0-9]|\s?%|/))"
        )
    return re.compile("|".join(parts) or r"(?!)")


def _text_pattern(text: str) -> str:
    """The option's own text, with any blanks and without its final period."""
    tokens = plain(text).lower().strip(" .\n\"'").split()
    body = r"\s{1,4}".join(re.escape(t) for t in tokens)
    return rf"(?<![{LATIN}]){body}(?![{LATIN}])" if len(body) > 5 else r"(?!)"
