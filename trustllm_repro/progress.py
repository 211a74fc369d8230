"""How long work tells its reader how it goes."""

from __future__ import annotations


class Progress:
    """Shows nothing; `PrintedNotes` and `cli.Bars` do."""

    def step(self, stage: str, done: int, total: int, more: str = "") -> None:
        """`done` of `total` parts of a stage are over; `more`: what else to show."""

    def note(self, text: str) -> None:
        """What a reader should know, told once."""


class PrintedNotes(Progress):
    """Prints notes, without bars."""

    def note(self, text: str) -> None:
        print(text)
