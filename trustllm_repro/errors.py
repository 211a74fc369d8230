"""Errors a user can act on: each names the place, what was expected, and the remedy."""

INSTALL = "pip install torch==2.13.0, then pip install -e '.[live]'"


class ReproError(Exception):
    """Base of the package's own errors. The command line prints it without a traceback."""

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}\n  remedy: {remedy}" if remedy else problem)


class SourceMissing(ReproError):
    """A source is not on this machine."""


class SourceCorrupt(ReproError):
    """A source is there, but its bytes are not what they should be."""


class SchemaError(ReproError):
    """A row does not have the form its file must have."""

    def __init__(
        self, file: str, row: int | None, field: str, expected: str, *, remedy: str = ""
    ) -> None:
        where = f"{file}, row {row}" if row is not None else file
        where += f", field {field!r}" if field else ""
        self.file, self.row, self.field = file, row, field
        super().__init__(
            f"{where}: {expected}",
            remedy=remedy or "fetch the file again or fix that row; nothing was written",
        )


class OutputError(ReproError):
    """A result cannot be written."""


class SettingsError(ReproError):
    """A parameter is unknown, mistyped or out of range."""
