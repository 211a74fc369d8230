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
Time is linear in the text: each mention looks at a bounded neighbourhood.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, pairwise

from trustllm_repro.parsers import context
from trustllm_repro.parsers.context import REACH
from trustllm_repro.parsers.text import LATIN, Sentence, plain, sentences, wordings

STATED, OPENING, NAMED, NOTHING = 3, 2, 1, 0


@dataclass(frozen=True)
class Option:
    """One answer a question allows."""

    label: str  # what the verdict says
    key: str = ""  # letter or number the prompt gives it, if any
    words: str = ""  # pattern of its wordings in Latin script, matched as whole words in any case
    cjk: str = ""  # the same for scripts without blanks between words
    text: str = ""  # the option as the prompt spells it out; "" if its wordings say all
    denied: str = ""  # label that denying it amounts to; "" where that leaves the answer open

    @classmethod
    def worded(cls, label: str, name: str, key: str = "", denied: str = "") -> Option:
        """The option whose wordings are the lists `name` and `name`_cjk of language.toml."""
        return cls(label, key, *wordings(name), denied=denied)


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


@dataclass(eq=False, slots=True)
class Mention:
    """One place where an option is named, from `start` to `end`, and the part it plays."""

    start: int
    end: int
    sentence: Sentence
    option: Option
    kind: str  # "key", "word" or "text"
    strength: int = 0  # this and the label are what it contributes, once it is judged
    label: str = ""
    leads: bool = False  # nothing but an introduction stands before it in its sentence
    denied: bool = False


# --- options as prompts write them ----------------------------------------------------------------


@cache
def lettered(prompt: str, letters: str) -> tuple[Option, ...]:
    """Options "A. text" of a prompt, in their order, as far as the letters go.

    The released files run the last option into the line before it ("... lives.C.More"), or set a
    control character before it, so an option ends where the next letter and its period stand. A
    letter that opens a line goes before one inside it ("J. B. Rhine").
    """
    # The first letter's last mention that another letter follows opens the options.
    first = [m for m in _marks(prompt, letters[0], 0) if _marks(prompt, letters[1], m.end())]
    if not first:
        return tuple(Option(k, k) for k in letters)
    starts = [first[-1].span()]
    for letter in letters[1:]:
        marks = _marks(prompt, letter, starts[-1][1])
        if not marks:
            break
        starts.append(marks[0].span())
    ends = [begin for begin, _ in starts[1:]] + [len(prompt)]
    found = []
    for letter, (_, start), end in zip(letters, starts, ends, strict=False):
        lines = prompt[start:end].strip(" \n\"'.\x08").splitlines() or [""]
        found.append(Option(letter, letter, text=lines[0].strip(" \"'.\x08")))
    return tuple(found)


def _marks(prompt: str, letter: str, begin: int) -> list[re.Match[str]]:
    """Where "A." or "A)" stands: at the start of lines or, if nowhere there, inside them."""
    for before in (r"(?m:^)", r"(?<=[\s\x00-\x1f.!?:;\"')])"):
        pattern = re.compile(rf"{before}{letter}[.)]\s{{0,3}}(?=\S)")
        if found := list(pattern.finditer(prompt, begin)):
            return found
    return []


@cache
def numbered(prompt: str) -> dict[str, str]:
    """Options written "(1) Word" in a prompt, by number."""
    return {n: t.strip() for n, t in re.findall(r"\((\d+)\)\s+([A-Za-z\s]+)", prompt)}


@cache
def endings(prompt: str) -> tuple[tuple[int, str], ...]:
    """Numbered lines of the last question of a prompt: number and text; () if there are none."""
    question = prompt.rsplit("Question:", 1)[-1]
    lines = re.findall(r"^\s*(\d+)[.:)]\s*(.*)$", question, re.MULTILINE)
    return tuple((int(n), text.strip()) for n, text in lines)


# --- where a text names options -------------------------------------------------------------------

# "Option three", "the third option": a key in words, or a place among the options.
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_CARDINALS = ("one", "two", "three", "four", "five")
_PLACES = (
    rf"(?:option|number)\s(?:{'|'.join(_CARDINALS)})"
    rf"|(?:{'|'.join(_ORDINALS)})\s(?:option|choice|answer|action|ending)"
)


def find_mentions(
    clean: str, options: tuple[Option, ...], limit: float | None = None
) -> list[Mention]:
    """All mentions in order, judged one by one; "(2) Nervous" is one mention, not two."""
    found: list[Mention] = []
    parts, lower = sentences(clean), clean.lower()
    ends = [part.end for part in parts]
    for m in _finder(options).finditer(lower):
        s = bisect_right(ends, m.start())
        if s == len(parts):
            break
        option = _named_by(m, clean, parts[s], options, limit)
        if option is not None:
            kind = {"t": "text", "w": "word", "c": "word"}.get((m.lastgroup or "")[0], "key")
            new = Mention(m.start(), m.end(), parts[s], option, kind)
            if found and _same(clean, found[-1], new):
                found[-1].end = m.end()
            else:
                found.append(new)
    if _only_numbers(clean, found):
        del found[0]
    for mention in found:
        _judge(lower, mention, rated=limit is not None, alone=len(parts) == 1)
    return found


def _same(clean: str, a: Mention, b: Mention) -> bool:
    gap = clean[a.end : b.start]
    one = a.option.label == b.option.label and a.kind != b.kind and a.sentence == b.sentence
    return one and len(gap) < 8 and not gap.strip(" \"'()[].,:=-")


def _named_by(
    m: re.Match[str], clean: str, part: Sentence, options: Sequence[Option], limit: float | None
) -> Option | None:
    """The option that a match names; None if it is something else after all."""
    group = m.lastgroup or ""
    if group[1:].isdigit():
        return options[int(group[1:])]
    by_key = {o.key: o for o in options if o.key}
    if group == "place":
        return _placed(m.group(), by_key)
    left = clean[max(part.start, m.start() - REACH) : m.start()].lower()
    right = clean[m.end() : min(part.end, m.end() + REACH)].lower()
    if context.NO_OPTION.search(left):
        return None
    if group == "letter":
        letter = clean[m.start()]
        if letter.islower() and not context.small_letter(left, right):
            return None
        if letter in "AaEO" and context.ARTICLE.match(right):
            return None
        return by_key.get(letter.upper())
    number, rated = f"{float(m.group()):g}", limit is not None
    option = by_key.get(number)
    if option is None and limit is not None and abs(float(number)) <= limit:
        bare = not left.strip(" \t\"'([") and re.match(r"[\s\"')\].!]{0,4}$", right)
        option = Option(number) if bare or context.framed(left, rated) else None
    return option if context.stands_for_option(left, right, rated) else None


def _placed(name: str, by_key: dict[str, Option]) -> Option | None:
    """The option of such a name, if there are so many."""
    word = next(w for w in name.split() if w in (*_ORDINALS, *_CARDINALS))
    at = (_CARDINALS if word in _CARDINALS else _ORDINALS).index(word)
    if word in _CARDINALS and str(at + 1) in by_key:
        return by_key[str(at + 1)]
    keyed = list(dict.fromkeys(by_key.values()))
    return keyed[at] if at < len(keyed) else None


@cache
def _finder(options: tuple[Option, ...]) -> re.Pattern[str]:
    """One pattern, for lower-case text, of every way an option can be named; groups tell which one
    (by its place) and how. Without a flag for any case it is made in a tenth of the time, and most
    items have one of their own."""
    parts = []
    for i, option in enumerate(options):  # their own texts, with any blanks, without a final period
        tokens = plain(option.text).lower().strip(" .\n\"'").split()
        body = r"\s{1,4}".join(re.escape(t) for t in tokens)
        if len(body) > 5:
            parts.append(rf"(?P<t{i}>(?<![{LATIN}]){body}(?![{LATIN}]))")
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


def _only_numbers(clean: str, mentions: list[Mention]) -> bool:
    """Whether the first mention is a "1." that only numbers the answer, which names another."""
    if len(mentions) < 2 or mentions[0].option.key != "1" or mentions[0].kind != "key":
        return False
    first, second = mentions[:2]
    numbers = first.option.label != second.option.label and not clean[: first.start].strip(" (")
    behind = clean[first.end : second.start]
    close = re.match(r"[.):]\s?[^.\n;]{0,60}$", behind) and second.kind != "key"
    bracketed = re.match(r"\.\s[^.\n]{0,60}\($", behind)
    return bool(numbers and (close or bracketed))


def _judge(clean: str, m: Mention, rated: bool, alone: bool) -> None:
    """Fill in the part a mention plays. `rated`: the question asks what people would say; `alone`:
    the sentence is the whole text."""
    part = m.sentence
    left = clean[max(part.start, m.start - REACH) : m.start]
    right = clean[m.end : min(part.end, m.end + REACH)]
    m.leads = bool(context.LEAD.match(left))
    bare = not left.strip(" \t\n\"'([") and not right.strip(" \t\n\"')].!?,:")
    if part.question and not (bare and alone):
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
        if near and before.denied == m.denied and context.JOINED.match(clean[before.end : m.start]):
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
        item = context.ITEM.search(clean[max(0, m.start - 8) : m.start])
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
