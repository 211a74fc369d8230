"""Where a text names options, and what part each mention plays, by what stands around it.

Patterns look at lower-case text of at most REACH characters, so the time is linear in the text:
`left` is the mention's sentence before it, `right` the sentence after it, `clause` the last clause
of `left`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from trustllm_repro.parsers.text import (
    LATIN,
    Option,
    Sentence,
    plain,
    sentences,
    whole,
    whole_words,
    words,
)

STATED, OPENING, NAMED, NOTHING = 3, 2, 1, 0
REACH = 160  # characters around a mention that can change its part
_SCOPE = 16  # words a negator reaches


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


# --- statements -----------------------------------------------------------------------------

_FILL = rf"(?:(?:\s|[\"'(\[,:=\u2014#]|-\s|{whole.fillers}){{0,14}})"
_GAP = r"\s[^\s.!?;]{1,24}"  # a word between a frame and its option
_FRAME = re.compile(
    rf"(?:{whole.nouns}[\"')\]]{{0,2}}(?:\s?\([^()]{{0,30}}\))?"
    rf"(?:\s[^\s:=.!?;]{{1,24}}){{0,7}}?{words.copula}"
    rf"|{whole.answer}[\"']?\s|{whole.verbs}"
    rf"|{whole.sorts}(?:{_GAP}){{0,24}}?\s(?:as|is|be|als|comme|como)(?=\s)"
    rf"|{whole.sorts}(?:{_GAP}){{0,3}}){_FILL}$"
)
_CONCLUDES = re.compile(rf"(?:^|[,;:.\u2014(]\s{{0,2}}|\s-\s|\n){whole.concludes}[,:]?{_FILL}$")
# Who answers like that is not the speaker: "most people answer B", "the common answer is B".
_OTHERS_SAY = re.compile(rf"\b{words.others}\s(?:\w+\s){{0,3}}?{words.others_say}[^.;,]{{0,30}}$")
# What calls the mention the answer, in `right`: "B is correct".
_BEHIND = r"(?:\s?\([^()]{0,80}\))?[\s,]{0,2}"  # what may stand between an option and its praise
_APPROVED = re.compile(rf"^[\"')\].,:]{{0,3}}{_BEHIND}{words.approved}(?!\w)")
# Together: the mention ends its sentence after a colon (`left`) or a line break (`right`).
_COLON = re.compile(r"[:\u2014]\s{0,2}[\"'(\[]{0,2}$|\n\s{0,2}$")
_CLOSES = re.compile(r"^[\"')\]]{0,3}[\s.!]{0,3}$")


def _framed(left: str, rated: bool = False) -> bool:
    """Whether a frame leads up to the mention: "the answer is", "I would choose", "so"; if the
    question asks what people would say (`rated`), "most would say" is a frame too."""
    said = _FRAME.search(left) and (rated or not _OTHERS_SAY.search(left))
    return bool(said or _CONCLUDES.search(left))


# --- openings -------------------------------------------------------------------------------

# All of `left` where nothing but an introduction stands before the mention.
_LEAD = re.compile(
    rf"^[\s\"'(\[,:#\u2014-]{{0,6}}(?:{words.introductions}[\s\"'(\[:,#-]{{1,4}}){{0,3}}$"
)
_DENIED_LEAD = re.compile(
    rf"^[\s\"'(\[]{{0,3}}(?:{words.it_is}\s)?{whole.negators}(?:\s\w{{1,14}}){{0,2}}\s$"
)
_PAUSE = re.compile(
    r"^(?:[\"')\]]{0,3}\s{0,2}(?:[.,:;!?\u2014/)\]\n(]|-\s|$)"
    rf"|\s{{1,2}}(?:{words.continues}|-)\b|\s{{0,1}}[\u3400-\u9fff])"
)
# An option that is the subject of its sentence is talked about, not given.
_TALK = re.compile(rf"^\s{words.talked_about}\b")
_CONCEDED = re.compile(r",?\s(?:but|however|although|though|aber|mais|pero|但是?)\b")


def _opens(left: str, right: str, kind: str, denied: bool) -> bool:
    """Whether the sentence gives the mention as its answer by opening with it."""
    if not (_LEAD.match(left) or (denied and _DENIED_LEAD.match(left))):
        return False
    if kind == "key":
        return not _TALK.match(right)
    return bool(_PAUSE.match(right)) and not (kind == "word" and _CONCEDED.search(right))


# --- denials --------------------------------------------------------------------------------

# What calls the mention no answer, in `right`: "A is wrong", or rules it out: "gout: no".
_REJECTED = re.compile(rf"^[\"')\].]{{0,3}}{_BEHIND}{words.rejected}(?!\w)")
_EXCLUDED = re.compile(rf"^{words.excluded}")
_NEGATOR = re.compile(rf"(?:{whole.negators}|n't\b)(?!\s(?:only|just)\b)")
_NEAR = re.compile(rf"{whole.near_negators}(?:\s(?!(?:is|are|was|be)\b)\S+){{0,2}}\W{{0,3}}$")
# What sets the mention below another one, in `left`: "B over A".
_BELOW = re.compile(rf"(?:{whole.contrast}|\s>)(?:\s|[\"'(\[]|(?:{words.articles})\b){{0,5}}$")
# Two denials in a clause affirm: "one cannot deny that it is wrong", "nothing could be more wrong".
_AFFIRMED_AFTER_ALL = re.compile(
    rf"{words.doubts}\b|(?:not|n't|cannot|nothing)\s(?:\w+\s){{0,2}}more\W{{1,2}}$"
)
# Denials that leave the matter open: "neither A nor B", "I cannot judge whether it is wrong".
_LEFT_OPEN = re.compile(rf"{words.left_open}\b")
# A negator before the subject says nothing of the predicate ("not paying is wrong", "to call not
# paying wrong"), unless it denies a thought ("I don't think it is wrong") or is the subject.
_PREDICATE = re.compile(
    r"\b(?!\w+ly\b|(?:always|ever|also|just)\b)\w+\s"
    rf"(?:{words.might}\s)?(?:{words.be}|be|been)\s|\sas\W{{1,3}}$"
)
_SEES = re.compile(rf"\s{words.sees}\b")
_NO_CASE = re.compile(r"no (?:way|world|situation|case)")
_THOUGHT = re.compile(rf"\b{words.thoughts}\b")
# A negator at the end of `left`; without it, a frame before it can be seen.
_FINAL_DENIAL = re.compile(rf"(?:{words.negators}|n't)\s(?:\w{{1,14}}\s){{0,2}}[\"'(]{{0,2}}$")
_CLAUSE = re.compile(
    rf"[,;:\u2014()\n]|\s-\s|[.!?](?=\s)|{whole.breaks}"
    rf"|(?<!not\s){whole.concludes}(?=\s)"
)


def _negated(clause: str) -> bool:
    """Whether a negator of the clause covers what follows it."""
    if _NEAR.search(clause):
        return True
    negators = list(_NEGATOR.finditer(clause))
    if not negators:
        return False
    ends = [*(n.start() for n in negators[1:]), len(clause)]
    follows = [clause[n.end() : end] for n, end in zip(negators, ends, strict=True)]
    verbs = [" ".join([n.group(), *f.split()[:3]]) for n, f in zip(negators, follows, strict=True)]
    # "I don't see how it is not wrong": the negator is denied by the one before it.
    denied = verbs[1:] and (_SEES.search(verbs[-2]) or _NO_CASE.search(negators[-2].group()))
    if denied or len(follows[-1].split()) > _SCOPE:
        return False
    return not _PREDICATE.search(follows[-1]) or bool(_THOUGHT.search(verbs[-1]))


# --- clauses that decide nothing --------------------------------------------------------------

_REASON = re.compile(rf"(?:^|[\s,;(\u3400-\u9fff]){whole.reasons}[^,;.!?\u2014]{{0,90}}$")
_CONCESSIVE = re.compile(rf"{words.concessive}\b")
# "If I had to choose" asks for a choice; "if I had chosen B" supposes one.
_SUPPOSES = re.compile(words.supposes)
_CHOSEN = re.compile(rf"if\b[^,]{{0,40}}\s{words.chosen}\s(?:option\s|action\s)?$")
_COUNTERFACTUAL = re.compile(r"\b(?:would|had|were|could|might)\b")
# Brackets that say more than the mention: two words or more before it.
_ASIDE = re.compile(r"\w[^()]*\((?:[^()\s]+\s){2,}[^()]*$")
_VERB = re.compile(rf"\b(?:{words.be}|{words.might}|{words.other_verbs})\b")
_OWN_PREDICATE = re.compile(rf"\s(?:{words.be}|be|as)\s(?:\S+\s){{0,3}}\W{{0,2}}$")


def _supposed(left: str, kind: str) -> bool:
    """Whether the sentence has only supposed or granted something so far: "If ..., I would"."""
    first = left.lstrip(" \"'(")
    if _CHOSEN.match(first) or (_CONCESSIVE.match(first) and "," not in first):
        return True
    return bool(_SUPPOSES.match(first)) and (kind != "word" or bool(_COUNTERFACTUAL.search(first)))


def _gives_reason(left: str) -> bool:
    """Whether the mention is part of a clause that gives a reason or a condition.

    A long subject may hold such a clause itself ("Helping when one is asked is good"): the
    sentence then has no predicate before it, and the one after it is its own.
    """
    opened = _REASON.search(left)
    if not opened:
        return False
    before, inside = left[: opened.start()], left[opened.start() :]
    subject = bool(before.strip()) and not _VERB.search(before)
    return not (subject and _OWN_PREDICATE.search(inside))


# --- letters and numbers ------------------------------------------------------------------------

# "A" before a small word is the article, unless the word is one that only an option takes.
_ARTICLE = re.compile(rf"^\s(?!{words.after_a}\b)[a-zA-ZÀ-ÿ]")
# A letter or number of something else, in `left`: "vitamin C", "step 2".
_NO_OPTION = re.compile(rf"{words.no_option}\s?$")
_NUMBERED = re.compile(rf"(?:{words.numbered}|[#:=(])\s?[\"'(\[:]{{0,2}}$")
_LISTED = re.compile(rf"\d[)\"]?\s?(?:,|\s(?:{words.joins}))\s$")
_ENDS = re.compile(
    r"[\"')\]]|\s{0,2}(?:[.):,;!?\]\n\u2014(]|-\s|$)|\s?[\u3400-\u9fff]"
    rf"|\s(?:{words.joins}|because|since|as|is)\b"
)


def _small_letter(left: str, right: str) -> bool:
    """Whether a small letter can only be an option: delimited, and opening, bracketed or framed."""
    closed = re.match(r"[\"')\]]{0,2}\s{0,1}(?:[.):,;!\]\n]|$)", right)
    named = re.search(r"(?:option|action|choice|letter|answer|选|選|选项|第)\s?$", left)
    return bool(closed and (not left.strip() or left[-1] in "([\"'" or _framed(left) or named))


def _stands_for_option(left: str, right: str, rated: bool) -> bool:
    """Whether a number is the key of an option, not a quantity."""
    delimited = _ENDS.match(right) or _APPROVED.match(right) or _REJECTED.match(right)
    return bool(delimited or _LISTED.search(left) or _NUMBERED.search(left) or _framed(left, rated))


# --- where a text names options -------------------------------------------------------------------

# "Option three", "the third option": a key in words, or a place among the options.
_CARDINALS = ("one", "two", "three", "four", "five")
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_PLACES = (
    rf"(?:option|number)\s(?:{'|'.join(_CARDINALS)})"
    rf"|(?:{'|'.join(_ORDINALS)})\s(?:option|choice|answer|action|ending)"
)
# A period or comma before a digit makes it a decimal, but not behind a Chinese sentence.
_NUMBER = (
    rf"(?<![{LATIN}$€£/])(?<![^\u3400-\u9fff][.,])(?<!\A[.,])(?<![{LATIN}]-)"
    rf"[-+]?[0-9]{{1,3}}(?:\.[0-9]{{1,2}}(?![0-9]))?(?![{LATIN}]|[.,][0-9]|\s?%|/)"
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
    if _NO_OPTION.search(left):
        return None
    if group == "letter":
        letter = clean[m.start()]
        if letter.islower() and not _small_letter(left, right):
            return None
        if letter in "AaEO" and _ARTICLE.match(right):
            return None
        return by_key.get(letter.upper())
    number, rated = f"{float(m.group()):g}", limit is not None
    option = by_key.get(number)
    if option is None and limit is not None and abs(float(number)) <= limit:
        bare = not left.strip(" \t\"'([") and re.match(r"[\s\"')\].!]{0,4}$", right)
        option = Option(number) if bare or _framed(left, rated) else None
    return option if _stands_for_option(left, right, rated) else None


def _placed(name: str, by_key: dict[str, Option]) -> Option | None:
    """The option of such a name, if there are so many."""
    first, last = name.split()
    at = _CARDINALS.index(last) if last in _CARDINALS else _ORDINALS.index(first)
    if last in _CARDINALS and str(at + 1) in by_key:
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
            parts.append(rf"(?P<t{i}>{whole_words(body)})")
    for i, option in enumerate(options):
        if option.words:
            parts.append(rf"(?P<w{i}>{whole_words(option.words)})")
        if option.cjk:
            parts.append(rf"(?P<c{i}>{option.cjk})")
    letters = "".join(o.key.lower() for o in options if o.key.isalpha())
    if letters:
        parts.append(rf"(?P<letter>(?<![{LATIN}&$'])[{letters}](?![{LATIN}]|[&'](?=[{LATIN}])))")
    if any(o.key for o in options):
        parts.append(rf"(?P<place>{whole_words(_PLACES)})")
    if any(o.key and not o.key.isalpha() for o in options):
        parts.append(rf"(?P<number>{_NUMBER})")
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
    m.leads = bool(_LEAD.match(left))
    bare = not left.strip(" \t\n\"'([") and not right.strip(" \t\n\"')].!?,:")
    if part.question and not (bare and alone):
        return
    clause = left[max((c.end() for c in _CLAUSE.finditer(left)), default=0) :]
    below = _BELOW.search(left[-60:])
    rejected = m.kind != "word" and _REJECTED.match(right)
    negated = _negated(clause) or _EXCLUDED.match(right) or rejected
    m.denied = bool(negated or below) and not _AFFIRMED_AFTER_ALL.search(clause)
    if m.denied and (not m.option.denied or below or _LEFT_OPEN.search(clause)):
        return
    m.label = m.option.denied if m.denied else m.option.label
    m.strength = _strength(m, left, right, rated)


def _strength(m: Mention, left: str, right: str, rated: bool) -> int:
    others = m.kind == "key" and not rated and _OTHERS_SAY.search(left)
    if others or _supposed(left, m.kind) or _ASIDE.search(left):
        return NOTHING
    if not m.denied and m.kind != "word" and _APPROVED.match(right):
        return STATED
    before = _FINAL_DENIAL.sub("", left) if m.denied else left
    if _framed(before, rated or m.kind == "word"):
        return STATED
    closes = _COLON.search(left) and _CLOSES.match(right)
    if closes or _opens(left, right, m.kind, m.denied):
        return OPENING
    return NOTHING if _gives_reason(left) else NAMED
