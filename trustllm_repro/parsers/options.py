"""Options as prompts write them: "A. text", "(1) word", "0: ending"."""

from __future__ import annotations

import re
from functools import cache

from trustllm_repro.parsers.choice import Option


@cache
def lettered(prompt: str, letters: str) -> tuple[Option, ...]:
    """Options "A. text" of a prompt, in their order, as far as the letters go.

    The released files run the last option into the line before it ("... lives.C.More"), or set a
    control character before it, so an option ends where the next letter and its period stand.
    """
    starts: list[tuple[int, int]] = []
    for letter in letters:
        begin = starts[-1][1] if starts else 0
        found = list(_option_start(letter).finditer(prompt, begin))
        if not found:
            break
        # The options stand at the end of a prompt; the first letter's last mention opens them.
        m = found[0] if starts else found[-1]
        starts.append(m.span())
    if len(starts) < 2:
        return tuple(Option(k, k) for k in letters)
    ends = [begin for begin, _ in starts[1:]] + [len(prompt)]
    spans = zip(letters, starts, ends, strict=False)
    return tuple(Option(k, k, text=_first_line(prompt[at[1] : end])) for k, at, end in spans)


@cache
def _option_start(letter: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|(?<=[\s\x00-\x1f.!?:;\"')])){letter}[.)]\s{{0,3}}(?=\S)")


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
