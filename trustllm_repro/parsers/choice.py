"""One grammar for answers that choose among options: letters, numbers, labels, ratings.

A task declares its options (`Option`); `choose` reads which of them an answer takes. It looks for
*mentions* of options, says of each what part it plays, and lets the strongest part decide:

1. **stated**: the answer says so ("the answer is B", "I would choose B", "B is correct", "so B");
   the last such statement counts, since people correct themselves forwards.
2. **opening**: a sentence is nothing but the option, or begins or closes with it ("B. Because ...").
3. **named**: the option stands in running text.

A mention that is denied ("not B", "B over A": A, "A is wrong"), gives a reason ("because A ..."),
asks, or belongs to a list of options that is only quoted, decides nothing. Where two different
options are left on the strongest level, the answer is unparsed: that is better than wrong.
Time is linear in the text: each mention looks at a bounded neighbourhood.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from trustllm_repro.parsers import context
from trustllm_repro.parsers.context import REACH
from trustllm_repro.parsers.mentions import Mention, Option, find_mentions
from trustllm_repro.parsers.plain import Sentence, plain, sentences

STATED, OPENING, NAMED, NOTHING = 3, 2, 1, 0
_REPEATED = re.compile(r"\b(\w{1,20})\b(?:[\s.,!]{1,3}\1\b){2,}")  # "B B B B": said once


@dataclass(frozen=True, slots=True)
class Choice:
    """What was read: a label or None, how strongly it was said, and all labels on that level."""

    label: str | None
    strength: int
    labels: tuple[str, ...] = ()

    @property
    def explicit(self) -> bool:
        """Said as the answer, not merely named somewhere in the text."""
        return self.label is not None and self.strength >= OPENING


def choose(text: str, options: Sequence[Option], limit: float | None = None) -> Choice:
    """Which option a text takes.

    Args:
        text: any string; markup and typography do not matter.
        options: what the question allows, in its order.
        limit: ratings only: any number within +-limit can be stated too; its label is the number.

    Returns:
        a Choice; its label is None where the text takes none, several, or cannot be read.
    """
    clean = _REPEATED.sub(r"\1", plain(text))
    parts = sentences(clean)
    found = _unnumbered(clean, find_mentions(clean, parts, tuple(options), limit))
    clean = clean.lower()
    for m in found:
        _judge(clean, parts, m, rated=limit is not None)
    _concede(clean, found)
    _level_items(clean, found)
    listed = _silence_lists(clean, found, options)
    stated = [m for m in found if m.strength == STATED]
    if stated:
        labels = _labels(stated)
        if len(list(groupby(stated, key=lambda m: m.label))) > len(labels):
            return Choice(None, STATED, labels)  # taken back and made again: no last word
        # The last statement counts; a statement of several counts as several.
        labels = _labels(next(g for g in _groups(clean, found) if stated[-1] in g))
        return Choice(labels[0] if len(labels) == 1 else None, STATED, labels)
    for strength in (OPENING, NAMED):
        labels = _labels([m for m in found if m.strength == strength])
        if labels:
            return Choice(labels[0] if len(labels) == 1 else None, strength, labels)
    return Choice(None, NOTHING, listed)


def asserts(text: str, pattern: str) -> bool:
    """Whether a text names what the pattern matches (whole words) without denying or asking it."""
    found, parts = _judged(text, pattern)
    return any(not m.denied and not parts[m.sentence].question for m in found)


def denies(text: str, pattern: str) -> bool:
    """Whether a text denies something that the pattern matches (whole words)."""
    return any(m.denied for m in _judged(text, pattern)[0])


def _judged(text: str, pattern: str) -> tuple[list[Mention], list[Sentence]]:
    clean = plain(text)
    parts = sentences(clean)
    found = find_mentions(clean, parts, (Option("x", words=pattern),), None)
    for m in found:
        _judge(clean.lower(), parts, m, rated=False)
    return found, parts


def _labels(mentions: Sequence[Mention]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(m.label or m.option.label for m in mentions))


def _groups(clean: str, mentions: Sequence[Mention]) -> list[list[Mention]]:
    """Mentions that stand side by side as equals: "A or B", "A, B and C"."""
    groups: list[list[Mention]] = []
    for m in mentions:
        before = groups[-1][-1] if groups else m
        near = before.sentence == m.sentence and 0 <= m.start - before.end < 60
        if near and before.denied == m.denied and context.JOINED.match(clean[before.end : m.start]):
            groups[-1].append(m)
        else:
            groups.append([m])
    return groups


def _unnumbered(clean: str, mentions: list[Mention]) -> list[Mention]:
    """Without a "1." that only numbers the answer: what follows it names another option."""
    if len(mentions) < 2 or mentions[0].option.key != "1" or mentions[0].kind != "key":
        return mentions
    first, second = mentions[:2]
    numbers = first.option.label != second.option.label and not clean[: first.start].strip(" (")
    behind = clean[first.end : second.start]
    close = re.match(r"[.):]\s?[^.\n;]{0,60}$", behind) and second.kind != "key"
    bracketed = re.match(r"\.\s[^.\n]{0,60}\($", behind)
    return mentions[1:] if numbers and (close or bracketed) else mentions


def _judge(clean: str, parts: Sequence[Sentence], m: Mention, rated: bool) -> None:
    """Fill in the part a mention plays; ratings are asked for what people would say (`rated`)."""
    part = parts[m.sentence]
    left = clean[max(part.start, m.start - REACH) : m.start]
    right = clean[m.end : min(part.end, m.end + REACH)]
    m.leads = bool(context.LEAD.match(left))
    alone = not left.strip(" \t\n\"'([") and not right.strip(" \t\n\"')].!?,:")
    if part.question and not (alone and len(parts) == 1):
        return
    clause, below = context.last_clause(left), context.BELOW.search(left[-60:])
    negated = context.negated(clause) or context.EXCLUDED.match(right)
    if m.kind != "word":
        negated = negated or context.REJECTED.match(right)
    m.denied = bool(negated or below) and not context.AFFIRMED_AFTER_ALL.search(clause)
    if m.denied and (not m.option.denied or below or context.LEFT_OPEN.search(clause)):
        return
    m.label = m.option.denied if m.denied else m.option.label
    m.strength = _strength(m, left, right, rated)


def _strength(m: Mention, left: str, right: str, rated: bool) -> int:
    others = m.kind == "key" and not rated and context.OTHERS_SAY.search(left)
    if others or context.supposed(left, m.kind) or context.ASIDE.search(left):
        return NOTHING
    if not m.denied and m.kind != "word" and context.APPROVED.match(right):
        return STATED
    before = context.FINAL_DENIAL.sub("", left) if m.denied else left
    if context.framed(before, rated or m.kind == "word"):
        return STATED
    closes = context.COLON.search(left) and context.CLOSES.match(right)
    if closes or context.opens(left, right, m.kind, m.denied):
        return OPENING
    return NOTHING if context.gives_reason(left) else NAMED


def _concede(clean: str, mentions: Sequence[Mention]) -> None:
    """ "A, but B", "A... no, B": what stands before the turn yields to what stands after it."""
    for a, b in pairwise(mentions):
        if not (a.strength and b.strength) or a.label == b.label:
            continue
        between, right = clean[a.end : b.start], clean[b.end : b.end + REACH]
        words = "word" == a.kind == b.kind and a.strength == b.strength == NAMED
        yields = a.sentence == b.sentence and (
            context.TURNS.search(between) or (words and context.SUBJECT.search(between))
        )
        if yields or context.takes_back(between, right):
            b.strength = max(a.strength, b.strength)
            a.strength, a.denied = NOTHING, True


def _level_items(clean: str, mentions: Sequence[Mention]) -> None:
    """ "1. X", "2. Y is possible": what numbered items begin with is offered alike."""
    first, last = None, 0  # mention that began the item before, and its number
    for m in mentions:
        number = context.item_number(clean[max(0, m.start - 8) : m.start])
        if not number or m.denied or not NOTHING < m.strength < STATED:
            continue
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
    if a.start < b.start and context.last_denied(left, between, right):
        return False
    open_ = a.denied and not a.strength and not b.denied and b.strength < STATED
    return open_ and a.sentence == b.sentence and bool(context.JOINED.match(between))


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
