"""Options as prompts write them: "A. text", "(1) word", "0: ending"."""

from __future__ import annotations

import re
from functools import cache

from trustllm_repro.parsers.choice import Option


@cache
def lettered(prompt: str, letters: str) -> tuple[Option, ...]:
    """Options "A. text" of a prompt, in their order, as far as the letters go.

    The released files run the last option into the line before it ("... lives.C.More"), or set a
    control character before it, so an option ends where the next letter and its period stand. A
    letter that opens a line goes before one inside it ("J. B. Rhine").
    """
    # The options stand at the end of a prompt: the first letter's last mention that another one
    # follows opens them.
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
    spans = zip(letters, starts, ends, strict=False)
    return tuple(Option(k, k, text=_first_line(prompt[at[1] : end])) for k, at, end in spans)


def _marks(prompt: str, letter: str, begin: int) -> list[re.Match[str]]:
    """Where "A." or "A)" stands: at the beginning of lines or, if nowhere there, inside them."""
    for pattern in _option_starts(letter):
        found = list(pattern.finditer(prompt, begin))
        if found:
            return found
    return []


@cache
def _option_starts(letter: str) -> tuple[re.Pattern[str], ...]:
    before = (r"(?m:^)", r"(?<=[\s\x00-\x1f.!?:;\"')])")
    return tuple(re.compile(rf"{b}{letter}[.)]\s{{0,3}}(?=\S)") for b in before)


def _first_line(text: str) -> str:
    lines = text.strip(" \n\"'.\x08").splitlines()
    return lines[0].strip(" \"'.\x08") if lines else ""


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
