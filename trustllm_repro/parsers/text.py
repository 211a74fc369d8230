"""Text to be read: the word lists of language.toml as patterns, answers as plain text and sentences,
and the options that a question allows.

Every step that makes an answer plain is one pass of a pattern without nested repetition, so the
time is linear in the text.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import SimpleNamespace

# Letters, digits and the underscore of Latin script, as a character set of lower-case text. Words
# end where they end, also beside scripts without blanks.
LATIN = "a-z0-9_à-öø-ÿœ"
# Chinese and Japanese characters: each is a word of its own, as no blanks stand between words.
HAN = "\u3040-\u30ff\u3400-\u9fff"
LISTS: dict[str, str] = tomllib.loads((files(__package__) / "language.toml").read_text("utf-8"))


def as_group(pattern: str) -> str:
    """A list of words as one group; a line break means nothing, a blank is any blank."""
    return "(?:" + pattern.replace("\n", "").replace(" ", r"\s") + ")"


def _filled(pattern: str) -> str:
    """A list with the lists it names."""
    return re.sub(r"<([a-z_]+)>", lambda m: _filled(LISTS[m[1]]), pattern)


def whole_words(pattern: str) -> str:
    return rf"(?<![{LATIN}])(?:{pattern})(?![{LATIN}])"


# `words.verbs` is the list `LISTS["verbs"]` as a group, `whole.verbs` the same as whole words.
words = SimpleNamespace(**{name: as_group(_filled(pattern)) for name, pattern in LISTS.items()})
whole = SimpleNamespace(**{name: whole_words(group) for name, group in vars(words).items()})


# --- plain text ---------------------------------------------------------------------------------

# Characters that mean the same to a reader. NFKC has already made full-width forms plain.
_SAME = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛ʼ`´′", "'"),
        **dict.fromkeys("“”„‟«»「」『』《》〈〉‹›″", '"'),
        **dict.fromkeys("−–‒‐‑﹣", "-"),
        **dict.fromkeys("—―", "\u2014"),
        **dict.fromkeys("【〔{", "["),
        **dict.fromkeys("】〕}", "]"),
        **dict.fromkeys("\u200b\u200c\u200d\ufeff\u00ad\ufe0f\u20e3", ""),
        "İ": "I",  # the only letter whose small form is longer
        "。": ".",
        "、": ",",
        "\u2028": "\n",
        "\u2029": "\n",
        "\r": "\n",
    }
)
# \boxed{B}, \text{B}, \textbf{B}, \mathrm{B}: the name goes, the braces become brackets.
_LATEX = re.compile(r"\\[a-zA-Z]{3,12}(?=\s{0,2}[\[{])|\\[()\[\]]|\$(?!\s{0,2}\d)")
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9_-]{0,20}(?:\s[^<>\n]{0,80})?/?>")
_MARKDOWN = re.compile(r"[*_~]{1,3}(?=\S)|(?<=\S)[*_~]{1,3}|`+|^[ \t]{0,3}(?:#{1,6}|>)[ \t]+", re.M)
_BULLET = re.compile(r"^[ \t]{0,8}[-*+\u2022\u25cf\u25aa][ \t]+", re.M)
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2190-\u21ff\u25a0-\u25ff\u2611]"
)
# A minus sign, however it is set apart or spelled; a hyphen at the start of a line is a bullet.
_SIGN = re.compile(r"[\u2212\u2013]\s?(?=\d)(?<!\d.)(?<!\d\s.)")
_MINUS = re.compile(
    r"(?<![a-z])(?:minus|negative|moins|menos)\s(?=\d)|负(?=\s?\d)|(?<=[:=(])\s?-\s?(?=\d)", re.I
)
_ARROW = re.compile(r"(?:->|=>|\u2192|\u21d2|\u2794)")
_THINK = re.compile(r"<think(?:ing)?>", re.I)
_THOUGHT = re.compile(r"</think(?:ing)?>", re.I)


def plain(text: str) -> str:
    """The answer without markdown, LaTeX, tags, thoughts, emoji and typographic variants. A step is
    taken only where its characters occur: most answers need few of them."""
    foreign = not text.isascii()
    if "<" in text and (opened := _THINK.search(text)):  # to the last </think>, or to the end
        ends = [m.end() for m in _THOUGHT.finditer(text, opened.end())]
        text = text[: opened.start()] + (text[ends[-1] :] if ends else "")
    if foreign or ">" in text:
        text = _ARROW.sub(": ", text)
    if foreign:
        text = unicodedata.normalize("NFKC", _SIGN.sub("-", text))
    if "\\" in text or "$" in text:
        text = _LATEX.sub("", text)  # before braces become brackets
    text = _BULLET.sub("", text)
    if any(c in text for c in "*_~`#>"):
        text = _MARKDOWN.sub("", text)
    text = text.translate(_SAME)
    if "<" in text:
        text = _TAG.sub(" ", text)
    text = _MINUS.sub("-", text)
    return text if text.isascii() else _EMOJI.sub(" ", text).rstrip(" ")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a plain text, by its place in it; `question` if it ends with a question mark."""

    start: int
    end: int
    question: bool


# A period inside a number or an abbreviation ends nothing; a line break always ends a sentence.
_END = re.compile(
    r"(?<![.!?;\u037e\u061f])[.!?;\u037e\u061f]++[\"')\]]*(?=\s|$|[A-Z\u3400-\u9fff\"'(\[])|\n+|(?<=[\u3400-\u9fff])[.!?;]+"
)


def sentences(text: str) -> list[Sentence]:
    """Sentences in order, without the blanks before them; those of punctuation alone are left out."""
    found, start = [], 0
    ends = [(m.end(), "?" in m.group()) for m in _END.finditer(text)]
    for end, question in [*ends, (len(text), False)]:
        body = text[start:end]
        if body.strip().strip(" \t\n.!?;\"'()[],:-"):
            found.append(Sentence(end - len(body.lstrip()), end, question))
        start = end
    return found


# --- options: what a question allows, and as prompts write it ------------------------------------


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
        """The option whose wordings are the lists `name` and, if any, `name`_cjk of language.toml."""
        cjk = getattr(words, f"{name}_cjk", "")
        return cls(label, key, getattr(words, name), cjk, denied=denied)


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
    opened = [first[-1]]
    for letter in letters[1:]:
        marks = _marks(prompt, letter, opened[-1].end())
        if not marks:
            break
        opened.append(marks[0])
    ends = [*(m.start() for m in opened[1:]), len(prompt)]
    found = []
    for letter, mark, end in zip(letters, opened, ends, strict=False):
        lines = prompt[mark.end() : end].strip(" \n\"'.\x08").splitlines() or [""]
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
