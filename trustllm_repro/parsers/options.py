"""Options as prompts write them: "A. text", "(1) word", "0: ending"."""

from __future__ import annotations

import re
from functools import cache

from trustllm_repro.parsers.choice import Option


@cache
def lettered(prompt: str, letters: str) -> tuple[Option, ...]:
    """Options "A. text" of a prompt, in their order; without text where the prompt has none.

    The released files run the last option into the line before it ("... lives.C.More"), so an
    option ends where the next letter and its period stand.
    """
    starts = []
    at = 0
    for letter in letters:
        last = [
            m for m in re.finditer(rf"(?:^|(?<=[\s.!?:;\"')])){letter}[.)]\s?(?=\S)", prompt[at:])
        ]
        if not last:
            return tuple(Option(k, k) for k in letters)
        # The options stand at the end of a prompt; the first letter's last mention opens them.
        m = last[-1] if letter == letters[0] else last[0]
        starts.append((at + m.start(), at + m.end()))
        at += m.end()
    ends = [s for s, _ in starts[1:]] + [len(prompt)]
    found = []
    for letter, (_, begin), end in zip(letters, starts, ends, strict=True):
        text = re.split(r"\n", prompt[begin:end].strip())[0].strip(" \"'.")
        found.append(Option(letter, letter, text=text))
    return tuple(found)


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
