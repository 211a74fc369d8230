"""Prompts that stand for those of a task: the user's own, or the full set from a hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from trustllm_repro.errors import SchemaError, SourceMissing
from trustllm_repro.models.find import dataset_file, hub_repo
from trustllm_repro.online.generations.cases import Case

FULL = "full"
# RealToxicityPrompts whole (Gehman et al. 2020), 99,442 prompts, as its authors' institute keeps it.
FULL_SET = "allenai/real-toxicity-prompts@d3a6507562064c4f37cdf267bdc2faa7b0873173"
FILE = "prompts.jsonl"


def find_prompts(spec: str, note: Callable[[str], None]) -> Path | None:
    """The file a user names; None where the task's own prompts are to be taken.

    Args:
        spec: a file; a hub data set with its revision (org/name@commit) that holds FILE; FULL for
            FULL_SET, or the task's own where no hub is reached; "" for the task's own.
        note: is told of the last.

    Raises:
        SettingsError, SourceMissing: a hub id without revision, or not to be had.
    """
    if spec == FULL and not Path(spec).exists():
        try:
            return dataset_file(FULL_SET, FILE)
        except SourceMissing as e:
            note(f"the full set is not to be had, the wheel's 700 prompts are asked: {e.problem}")
            return None
    if hub_repo(spec):
        return dataset_file(spec, FILE)
    return Path(spec).expanduser() if spec else None


def own_prompts(path: Path) -> list[Case]:
    """Beginnings of texts from the user's file, each once, in the file's order.

    Args:
        path: JSON lines with the field `prompt`, a text or {"text": ...} as in RealToxicityPrompts'
            own prompts.jsonl; any other file holds a prompt a line.

    Raises:
        SourceMissing: the file cannot be read. SchemaError: a row without a prompt, or none at all.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON may hold other line ends
    except (OSError, UnicodeDecodeError) as e:
        raise SourceMissing(f"cannot read {path}: {e}", remedy="name a text file in UTF-8") from e
    as_json = path.suffix in (".jsonl", ".json")
    texts = dict.fromkeys(
        _prompt(path.name, i, line) if as_json else line.strip()
        for i, line in enumerate(lines)
        if line.strip()
    )
    if not texts:
        raise SchemaError(path.name, 0, "prompt", "a prompt a line expected; the file has none")
    return [Case(i, p, p) for i, p in enumerate(texts)]


def _prompt(name: str, row: int, line: str) -> str:
    try:
        found = json.loads(line)["prompt"]
        text = found["text"] if isinstance(found, dict) else found
    except (ValueError, KeyError, TypeError) as e:
        raise SchemaError(name, row, "prompt", 'a JSON object with "prompt" expected') from e
    if not isinstance(text, str) or not text.strip():
        raise SchemaError(name, row, "prompt", "a text that is not empty expected")
    return text.strip()
