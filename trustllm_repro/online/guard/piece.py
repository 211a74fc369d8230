"""What a guarded stream gives out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """Some of an answer: its text, the score with it, and whether the guard ends the answer here."""

    text: str
    score: float
    alarm: bool = False
