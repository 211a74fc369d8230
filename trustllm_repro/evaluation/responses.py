"""Answers of live models: `responses/<model>.jsonl`, one line per (task, item, sample).

A line's key is a hash of everything the answer depends on (models.base.content_key), so an answer
is only made once, whatever is killed, repeated or run side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.store.append import JsonLines


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer that is wanted: to which item of which task, under which key."""

    task: str
    number: int
    sample: int
    key: str


def file_name(model: str) -> str:
    """The model's name as a file name: no separators, nothing hidden."""
    kept = "".join(c if c.isalnum() or c in "-_.@" else "-" for c in model)
    return kept.lstrip(".") or "model"


class ResponseStore:
    """The answers of one model in a run folder."""

    def __init__(self, run: Path, model: str) -> None:
        self.lines = JsonLines(run / "responses" / f"{file_name(model)}.jsonl")

    def load(self) -> dict[str, Completion]:
        """Completions by key. The first line of a key counts; failed calls are asked again."""
        found: dict[str, Completion] = {}
        for line in self.lines.read():
            completion = _completion(line)
            if completion is not None and completion.finish is not Finish.ERROR:
                found.setdefault(line["key"], completion)
        return found

    def add(self, made: Iterable[tuple[Asked, Completion]]) -> None:
        self.lines.append({**asdict(asked), **asdict(done)} for asked, done in made)


def _completion(line: dict[str, Any]) -> Completion | None:
    """None for a line that was not written by `add` (altered by hand, or of another tool)."""
    try:
        if not isinstance(line["key"], str) or not isinstance(line["text"], str | None):
            return None
        counts = (int(line[name]) for name in ("prompt_tokens", "new_tokens", "cut_tokens"))
        return Completion(line["text"], Finish(line["finish"]), *counts)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
