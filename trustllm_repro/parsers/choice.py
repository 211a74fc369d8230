"""One grammar for answers that choose among options: letters, numbers, labels, ratings.

A task declares its options (`Option`); `choose` reads which of them an answer takes. It looks for
*mentions* of options, says of each what part it plays, and lets the strongest part decide:

1. **stated**: the answer says so ("the answer is B", "I would choose B", "B is correct", "so B");
   the last such statement counts, since people correct themselves forwards.
2. **opening**: a sentence is nothing but the option, or begins or closes with it ("B. Because ...").
3. **named**: the option is part of running text.

A mention that is denied ("not B", "B over A": A, "A is wrong"), gives a reason ("because A ..."),
asks, or belongs to a list of options that is only quoted, decides nothing. Where two different
options are left on the strongest level, the answer is unparsed: that is better than wrong.

What a mention's own surroundings say of it is in `mentions`; here mentions decide together. `between`
is what stands between two of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from trustllm_repro.parsers.mentions import (
    NAMED,
    NOTHING,
    OPENING,
    REACH,
    STATED,
    Mention,
    find_mentions,
)
from trustllm_repro.parsers.text import Option, plain, whole, whole_words, words


@dataclass(frozen=True, slots=True)
class Choice:
    """What was read: how strongly it was said, and all labels on that level."""

    strength: int
    labels: tuple[str, ...] = ()

    @property
    def label(self) -> str | None:
        """The label, if there is one alone."""
        return self.labels[0] if len(self.labels) == 1 else None

    @property
    def explicit(self) -> bool:
        """Said as the answer, not merely named somewhere in the text."""
        return self.label is not None and self.strength >= OPENING


# --- two mentions -----------------------------------------------------------------------------

# Two mentions stand side by side as equals: "A or B".
_JOINED = re.compile(
    rf"^[\s\"')\].,/&|]{{0,4}}(?:(?:{whole.joins}|[/,&|])[\s\"'(\[]{{0,3}})"
    rf"(?:{words.also}\s{{0,2}}){{0,2}}$"
)
# The second of two mentions takes back the first: "A, but B".
_TURNS = re.compile(rf"(?:^|[\s,;.]){whole.breaks}|[,;]\s?{whole.concludes}")
# "Apologizing for a bad deed is good": what stands before the predicate belongs to the subject.
_SUBJECT = re.compile(rf"^(?![^,;.\n]*[,;.\n])[^,;.\n]*\b(?:{words.be}|be)\b[^,;.\n]*$")
# "Neither A nor B, C": behind the last of the denied, a comma alone ends the denial.
_LAST_DENIED = re.compile(
    rf"(?:{whole.negators}|\bno\b|n't\b|不)[^.!?;:\n]*"
    rf"(?:{whole_words('nor|noch|ni')}|也不是?|也非|也没有?)[\s\"'(]{{0,3}}(?:option\s)?$"
)
_COMMA = re.compile(r"^[\"')\]]{0,3}\s?,\s{0,2}[\"'(]{0,2}$")
# "A... no, B", "A. Wait, no: it is B": an answer taken back for another one.
_TAKES_BACK = re.compile(
    rf"^[\"')\]]{{0,3}}\s?[.,;!\u2014]{{1,4}}\s{{0,2}}"
    rf"(?:{whole.hesitates}[,.!]{{0,3}}\s{{0,2}}){{0,2}}"
    rf"(?:{whole.taken_back}(?:[,:!\u2014]|\s-|\.{{3}})\s{{0,2}}){{1,3}}"
    rf"(?:{whole.hesitates}[,.!]{{0,3}}\s{{0,2}}){{0,2}}"
    rf"(?:{whole.is_rather}[,:]?\s{{0,2}}){{0,2}}(?:option\s)?[\"'(]{{0,2}}$"
)
# The end of an answer; not of an item in a list of verdicts ("A, yes, B, no, C, no").
_ENDS_ANSWER = re.compile(
    r"^[\"')\]]{0,3}\s{0,2}(?:[.,;!\n]|$|(?:because|since|weil|denn|parce|car|porque)\b|因为)"
    r"(?!\s?(?:no|nope|nein|non|不)\s?(?:[.;\n]|$))"
)
# The number of a list item that the mention begins, in `left`.
_ITEM = re.compile(r"(?:^|\s)([1-9]\d?)[.)]\s{0,2}[\"'(]{0,2}$")


# --- which option an answer takes -----------------------------------------------------------------

_REPEATED = re.compile(r"\b(\w{1,20})\b(?:[\s.,!]{1,3}\1\b){2,}")  # "B B B B": said once


def choose(text: str, options: Sequence[Option], limit: float | None = None) -> Choice:
    """Which option a text takes; its label is None where it takes none, several, or cannot be read.

    Args:
        text: any string; markup and typography do not matter.
        options: what the question allows, in its order.
        limit: ratings only: any number within +-limit can be stated too; its label is the number.
    """
    clean = _REPEATED.sub(r"\1", plain(text))
    found = find_mentions(clean, tuple(options), limit)
    clean = clean.lower()
    _concede(clean, found)
    _level_items(clean, found)
    listed = _silence_lists(clean, found, options)
    stated = [m for m in found if m.strength == STATED]
    if stated:
        labels = _labels(stated)
        if len(list(groupby(stated, key=lambda m: m.label))) > len(labels):
            return Choice(STATED, labels)  # taken back and made again: no last word
        # The last statement counts; a statement of several counts as several.
        last = next(g for g in _groups(clean, found) if stated[-1] in g)
        return Choice(STATED, _labels(last))
    for strength in (OPENING, NAMED):
        labels = _labels([m for m in found if m.strength == strength])
        if labels:
            return Choice(strength, labels)
    return Choice(NOTHING, listed)


def asserts(text: str, pattern: str) -> bool:
    """Whether a text names what the pattern matches (whole words) without denying or asking it."""
    return any(not m.denied and not m.sentence.question for m in _mentions_of(text, pattern))


def denies(text: str, pattern: str) -> bool:
    """Whether a text denies something that the pattern matches (whole words)."""
    return any(m.denied for m in _mentions_of(text, pattern))


def _mentions_of(text: str, pattern: str) -> list[Mention]:
    return find_mentions(plain(text), (Option("x", words=pattern),))


def _labels(mentions: Sequence[Mention]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(m.label or m.option.label for m in mentions))


def _groups(clean: str, mentions: Sequence[Mention]) -> list[list[Mention]]:
    """Mentions that stand side by side as equals: "A or B", "A, B and C"."""
    groups: list[list[Mention]] = []
    for m in mentions:
        before = groups[-1][-1] if groups else m
        near = before.sentence == m.sentence and 0 <= m.start - before.end < 60
        if near and before.denied == m.denied and _JOINED.match(clean[before.end : m.start]):
            groups[-1].append(m)
        else:
            groups.append([m])
    return groups


def _concede(clean: str, mentions: Sequence[Mention]) -> None:
    """ "A, but B", "A... no, B": what stands before the turn yields to what stands after it."""
    for a, b in pairwise(mentions):
        if not (a.strength and b.strength) or a.label == b.label:
            continue
        between, right = clean[a.end : b.start], clean[b.end : b.end + REACH]
        named = "word" == a.kind == b.kind and a.strength == b.strength == NAMED
        turns = _TURNS.search(between) or (named and _SUBJECT.search(between))
        taken_back = _TAKES_BACK.match(between[:60]) and _ENDS_ANSWER.match(right)
        if taken_back or (turns and a.sentence == b.sentence):
            b.strength = max(a.strength, b.strength)
            a.strength, a.denied = NOTHING, True


def _level_items(clean: str, mentions: Sequence[Mention]) -> None:
    """ "1. X", "2. Y is possible": what numbered items begin with is offered alike."""
    first, last = None, 0  # mention that began the item before, and its number
    for m in mentions:
        item = _ITEM.search(clean[max(0, m.start - 8) : m.start])
        if not item or m.denied or not NOTHING < m.strength < STATED:
            continue
        number = int(item[1])
        if first and number == last + 1 and first.strength != m.strength:
            first.strength = m.strength = OPENING
        first, last = m, number


def _silence_lists(
    clean: str, mentions: Sequence[Mention], options: Sequence[Option]
) -> tuple[str, ...]:
    """Silence mentions that only list options; returns the labels so listed.

    Lists are options joined as equals, sentences that hold three options or more, and options
    told one by one. A statement of two among more ("the answer is A or B") stays: it is read as
    several. What is joined to a denied option is denied with it ("rather than A or B").
    """
    every = {o.label for o in options}
    silent: set[Mention] = set()
    for group in _groups(clean, mentions):
        labels = set(_labels(group))
        stated = any(m.strength == STATED for m in group)
        if len(labels) > 2 or (len(labels) == 2 and (labels == every or not stated)):
            silent.update(group)
    for a, b in pairwise(mentions):
        for one, other in ((a, b), (b, a)):
            if _denied_with(clean, one, other):
                other.strength, other.denied = NOTHING, True
    silent |= _enumerated(clean, mentions, list(dict.fromkeys(o.key for o in options)))
    for _, in_sentence in groupby(mentions, key=lambda m: m.sentence):
        weak = [m for m in in_sentence if not m.denied and m.strength <= NAMED]
        if len({m.option.label for m in weak}) > 2:
            silent.update(weak)
    listed = _labels([m for m in mentions if m in silent and not m.denied])
    for m in silent:
        m.strength = NOTHING
    return listed if len(listed) > 1 else ()


def _denied_with(clean: str, a: Mention, b: Mention) -> bool:
    """Whether `b` is joined to the denied `a`."""
    between = clean[min(a.end, b.end) : max(a.start, b.start)]
    if b.start < a.start and "," in between:  # "B, A is wrong" denies A alone
        return False
    left, right = clean[max(0, a.start - REACH) : a.start], clean[b.end : b.end + REACH]
    ends = a.start < b.start and _COMMA.match(between) and _ENDS_ANSWER.match(right)
    if ends and _LAST_DENIED.search(left):
        return False
    open_ = a.denied and not a.strength and not b.denied and b.strength < STATED
    return open_ and a.sentence == b.sentence and bool(_JOINED.match(between))


def _lone(clean: str, m: Mention) -> bool:
    """Whether nothing else stands on the mention's line."""
    begin = clean.rfind("\n", 0, m.start) + 1
    end = clean.find("\n", m.end)
    line = clean[begin : end if end >= 0 else len(clean)]
    return not (line.replace(clean[m.start : m.end], "", 1)).strip(" .()[]\"':")


def _enumerated(clean: str, mentions: Sequence[Mention], keys: list[str]) -> set[Mention]:
    """Keys that open sentences and run through the options, or count reasons."""
    opening = [m for m in mentions if m.kind == "key" and m.leads and m.strength == OPENING]
    found: set[Mention] = set()
    run: list[Mention] = []
    for m in [*opening, None]:
        key = m.option.key if m else ""
        if run and key in keys and keys.index(key) == keys.index(run[-1].option.key) + 1:
            run.append(m)
            continue
        digits = bool(run) and run[0].option.key.isdigit()
        if len(run) >= max(2, min(len(keys), 3)) or (len(run) == 2 and len(keys) != 2 and digits):
            # "A", then each other option on a line of its own with what is wrong with it.
            lone = [_lone(clean, m) for m in run]
            found.update(run[1:] if lone[0] and not any(lone[1:]) else run)
        run = [m] if key in keys and key in (keys[0], "1") else []
    return found
