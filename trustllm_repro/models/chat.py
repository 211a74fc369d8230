"""From a prompt to the text of a chat, with or without the template's own system message."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

from jinja2 import TemplateError

Turn = dict[str, str]  # role and content
# A template may take an empty message for none and put its own in; a blank is then as good.
_BLANKS: tuple[tuple[Turn, ...], ...] = (
    (),
    ({"role": "system", "content": ""},),
    ({"role": "system", "content": " "},),
)


def rendered(tokenizer: Any, prompt: str, before: Sequence[Turn] = ()) -> str:
    """The chat template filled in, up to where the answer begins."""
    return tokenizer.apply_chat_template(
        [*before, {"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )


def blank_turns(tokenizer: Any) -> Sequence[Turn]:
    """What must stand before the user's turn so that no system message gets in; often nothing.

    The official toolkit empties the system message of its chat format. A template that puts one
    in by itself is given an empty one (ChatML of SmolLM2, Qwen2.5: an empty system turn is left).
    One that puts none in is given none: Llama 2 and Mistral would write empty marks or lines for an
    empty message, and Gemma and the first Mistral refuse the role. So the shortest text is right.
    What a template always says (Llama 3.1: dates) stays.
    """
    found: list[tuple[int, Sequence[Turn]]] = []
    for turns in _BLANKS:
        with suppress(TemplateError):
            found.append((len(rendered(tokenizer, "?", turns)), turns))
    return min(found, key=itemgetter(0), default=(0, ()))[1]
