"""How long tasks report their progress."""


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


def duration(seconds: float) -> str:
    """ "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
