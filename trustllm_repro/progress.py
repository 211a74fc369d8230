"""How long tasks report their progress."""

from __future__ import annotations


class Progress:
    """Shows nothing; `PrintedNotes` and `cli.Bars` do."""

    def step(self, stage: str, done: int, total: int, more: str = "") -> None:
        """`done` of `total` parts of a stage are over; `more`: what else to show."""

    def note(self, text: str) -> None:
        """A message for the reader."""


class PrintedNotes(Progress):
    """Prints notes, without bars."""

    def note(self, text: str) -> None:
        print(text)
