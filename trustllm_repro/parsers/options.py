"""Options as prompts write them: "A. text", "(1) word", "0: ending"."""

from __future__ import annotations

import re
from functools import cache

from trustllm_repro.parsers.choice import Option


@cache
def lettered(prompt: str, letters: str) -> tuple[Option, ...]:
    """Options "A. text" of a prompt, in their order; without text where the prompt has none.

    A question may have fewer options than there are letters. The released files run the last
    option into the line before it ("... lives.C.More"), so an option ends where the next letter
    and its period stand; a letter that opens a line goes before one inside it ("J. B. Rhine").
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
    ends = [s for s, _ in starts[1:]] + [len(prompt)]
    found = []
    for letter, (_, begin), end in zip(letters, starts, ends, strict=False):
        text = re.split(r"\n", prompt[begin:end].strip())[0].strip(" \"'.")
        found.append(Option(letter, letter, text=text))
    return (*found, *(Option(k, k) for k in letters[len(found) :]))


def _marks(prompt: str, letter: str, begin: int) -> list[re.Match[str]]:
    """Where "A." or "A)" stands: at the beginning of lines or, if nowhere there, inside them."""
    for before in (r"(?m:^)", r"(?<=[\s.!?:;\"')])"):
        found = list(re.compile(rf"{before}{letter}[.)]\s?(?=\S)").finditer(prompt, begin))
        if found:
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
