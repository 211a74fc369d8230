"""One grammar for answers that choose among options: letters, numbers, labels, ratings.

A task declares its options (`Option`); `choose` reads which of them an answer takes. It looks for
*mentions* of options, says of each what part it plays, and lets the strongest part decide:

1. **stated**: the answer says so ("the answer is B", "I would choose B", "B is correct", "so B");
   the last such statement counts, since people correct themselves forwards.
2. **opening**: a sentence is nothing but the option, or begins or closes with it ("B. Because ...").
3. **named**: the option stands in running text.

A mention that is denied ("not B", "B over A": A, "A is wrong"), gives a reason ("because A ..."),
asks, or belongs to a list of options that is only quoted, decides nothing. Where two different
options are left on the strongest level, the answer is unread: unread is better than wrong.
Time is linear in the text: each mention looks at a bounded neighbourhood.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

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
    found = find_mentions(clean, parts, tuple(options), limit)
    judged = _judged(clean, parts, _unnumbered(clean, found), limit is not None)
    judged = _alike_in_list(clean, _conceded(clean, judged))
    judged, listed = _without_lists(clean, judged, options)
    for strength in (STATED, OPENING, NAMED):
        labels = _on(judged, strength)
        if strength == STATED and labels:
            if _wavers([m.label for m in judged if m.strength == STATED]):
                return Choice(None, STATED, labels)
            # The last statement counts; a statement of several counts as several.
            last = [i for i, m in enumerate(judged) if m.strength == STATED][-1]
            beside = next(g for g in _groups(clean, judged) if last in g)
            labels = _labels(judged, beside)
        if labels:
            return Choice(labels[0] if len(labels) == 1 else None, strength, labels)
    return Choice(None, NOTHING, listed)


def asserts(text: str, pattern: str) -> bool:
    """Whether a text names what the pattern matches (whole words) without denying or asking it."""
    clean = plain(text)
    parts = sentences(clean)
    found = find_mentions(clean, parts, (Option("x", words=pattern),), None)
    return any(
        not m.denied and not parts[m.sentence].question for m in _judged(clean, parts, found)
    )


def denies(text: str, pattern: str) -> bool:
    """Whether a text denies something that the pattern matches (whole words)."""
    clean = plain(text)
    parts = sentences(clean)
    found = find_mentions(clean, parts, (Option("x", words=pattern),), None)
    return any(m.denied for m in _judged(clean, parts, found))


def _wavers(stated: Sequence[str]) -> bool:
    """Whether a statement is taken back and then made again: no last word can be told."""
    runs = [label for label, _ in groupby(stated)]
    return len(runs) > len(set(runs))


def _judged(
    clean: str, parts: Sequence[Sentence], found: Sequence[Mention], rated: bool = False
) -> list[Mention]:
    """The mentions with their parts; ratings are asked for what people would say (`rated`)."""
    return [_judge(clean, parts, m, rated) for m in found]


def _on(mentions: Sequence[Mention], strength: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(m.label for m in mentions if m.strength == strength))


def _labels(mentions: Sequence[Mention], at: Sequence[int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mentions[i].label or mentions[i].option.label for i in at))


def _groups(clean: str, mentions: Sequence[Mention]) -> list[list[int]]:
    """Positions of mentions that stand side by side as equals: "A or B", "A, B and C"."""
    groups: list[list[int]] = []
    for i, m in enumerate(mentions):
        if i and _joined(clean, mentions[i - 1], m):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _joined(clean: str, a: Mention, b: Mention) -> bool:
    near = a.sentence == b.sentence and b.start - a.end < 60 and a.denied == b.denied
    return near and context.joined(clean[a.end : b.start])


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


def _conceded(clean: str, mentions: list[Mention]) -> list[Mention]:
    """ "A, but B", "A... no, B": what stands before the turn yields to what stands after it."""
    for i in range(len(mentions) - 1):
        a, b = mentions[i], mentions[i + 1]
        if not (a.strength and b.strength) or a.label == b.label:
            continue
        between, right = clean[a.end : b.start], clean[b.end : b.end + REACH]
        words = "word" == a.kind == b.kind and a.strength == b.strength == NAMED
        yields = a.sentence == b.sentence and (
            context.turns(between) or (words and context.subject(between))
        )
        if yields or context.takes_back(between, right):
            mentions[i + 1] = replace(b, strength=max(a.strength, b.strength))
            mentions[i] = replace(a, strength=NOTHING, denied=True)
    return mentions


def _alike_in_list(clean: str, mentions: list[Mention]) -> list[Mention]:
    """ "1. X", "2. Y is possible": what numbered items begin with is offered alike."""
    first, last = -1, 0  # mention that began the item before, and its number
    for i, m in enumerate(mentions):
        number = context.item_number(clean[max(0, m.start - 8) : m.start])
        if not number or m.denied or not NOTHING < m.strength < STATED:
            continue
        if first >= 0 and number == last + 1 and mentions[first].strength != m.strength:
            for j in (first, i):
                mentions[j] = replace(mentions[j], strength=OPENING)
        first, last = i, number
    return mentions


def _judge(clean: str, parts: Sequence[Sentence], m: Mention, rated: bool) -> Mention:
    """The mention with the part it plays."""
    part = parts[m.sentence]
    left = clean[max(part.start, m.start - REACH) : m.start].lower()
    right = clean[m.end : min(part.end, m.end + REACH)].lower()
    alone = not left.strip(" \t\n\"'([") and not right.strip(" \t\n\"')].!?,:")
    m = replace(m, leads=context.leads(left))
    if part.question and not (alone and len(parts) == 1):
        return m
    clause, below = context.last_clause(left), context.below(left)
    negated = context.negated(clause) or context.excluded(right)
    if m.kind != "word":
        negated = negated or context.rejected(right)
    denied = (negated or below) and not context.affirmed_after_all(clause)
    m, label = replace(m, denied=denied), m.option.label
    if denied:
        if not m.option.denied or below or context.left_open(clause):
            return m
        label = m.option.denied
    return replace(m, label=label, strength=_strength(m, left, right, rated))


def _strength(m: Mention, left: str, right: str, rated: bool) -> int:
    others = m.kind == "key" and not rated and context.others_say(left)
    if others or context.supposed(left, m.kind) or context.aside(left):
        return NOTHING
    if not m.denied and m.kind != "word" and context.approved(right):
        return STATED
    if context.framed(
        context.without_denial(left) if m.denied else left, rated or m.kind == "word"
    ):
        return STATED
    if context.opens(left, right, m.kind, m.denied) or context.closes(left, right):
        return OPENING
    return NOTHING if context.gives_reason(left) else NAMED


def _without_lists(
    clean: str, mentions: list[Mention], options: Sequence[Option]
) -> tuple[list[Mention], tuple[str, ...]]:
    """Mentions with those that only list options silenced; and the labels so listed.

    Lists are options joined as equals, sentences that hold three options or more, and options
    told one by one. A statement of two among more ("the answer is A or B") stays: it is read as
    several. What is joined to a denied option is denied with it ("rather than A or B").
    """
    all_labels = {o.label for o in options}
    drop: set[int] = set()
    for group in _groups(clean, mentions):
        labels = set(_labels(mentions, group))
        stated = any(mentions[j].strength == STATED for j in group)
        everything = len(labels) > 1 and labels == all_labels
        if len(labels) > 2 or everything or (len(labels) == 2 and not stated):
            drop.update(group)
    for i in range(1, len(mentions)):
        for one, other in ((i - 1, i), (i, i - 1)):
            if _denied_with(clean, mentions[one], mentions[other]):
                mentions[other] = replace(mentions[other], strength=NOTHING, denied=True)
    drop |= _enumerated(clean, mentions, list(dict.fromkeys(o.key for o in options)))
    for _, one in groupby(range(len(mentions)), key=lambda i: mentions[i].sentence):
        of = [i for i in one if not mentions[i].denied and mentions[i].strength <= NAMED]
        if len({mentions[i].option.label for i in of}) > 2:
            drop.update(of)
    listed = _labels(mentions, [i for i in sorted(drop) if not mentions[i].denied])
    kept = [replace(m, strength=NOTHING) if i in drop else m for i, m in enumerate(mentions)]
    return kept, listed if len(listed) > 1 else ()


def _denied_with(clean: str, a: Mention, b: Mention) -> bool:
    silent = a.denied and not a.strength and not b.denied and b.strength < STATED
    between = clean[min(a.end, b.end) : max(a.start, b.start)]
    if b.start < a.start and "," in between:  # "B, A is wrong" denies A alone
        return False
    left, right = clean[max(0, a.start - REACH) : a.start], clean[b.end : b.end + REACH]
    if a.start < b.start and context.last_denied(left, between, right):
        return False
    return silent and a.sentence == b.sentence and context.joined(between)


def _lone(clean: str, m: Mention) -> bool:
    """Whether nothing else stands on the mention's line."""
    begin = clean.rfind("\n", 0, m.start) + 1
    end = clean.find("\n", m.end)
    line = clean[begin : end if end >= 0 else len(clean)]
    return not (line.replace(clean[m.start : m.end], "", 1)).strip(" .()[]\"':")


def _enumerated(clean: str, mentions: list[Mention], keys: list[str]) -> set[int]:
    """Positions of keys that open sentences and run through the options, or count reasons."""
    opening = [
        i for i, m in enumerate(mentions)
        if m.kind == "key" and m.leads and m.strength == OPENING
    ]  # fmt: skip
    drop: set[int] = set()
    firsts = {keys[0], "1"} if keys else set()
    run: list[int] = []
    for i in [*opening, -1]:
        key = mentions[i].option.key if i >= 0 else ""
        follows = (
            bool(run)
            and key in keys
            and keys.index(key) == keys.index(mentions[run[-1]].option.key) + 1
        )
        if follows:
            run.append(i)
            continue
        digits = bool(run) and mentions[run[0]].option.key.isdigit()
        if len(run) >= max(2, min(len(keys), 3)) or (len(run) == 2 and len(keys) != 2 and digits):
            # "A", then each other option on a line of its own with what is wrong with it.
            lone = [_lone(clean, mentions[j]) for j in run]
            drop.update(run[1:] if lone[0] and not any(lone[1:]) else run)
        run = [i] if key in firsts and key in keys else []
    return drop
