"""The two ways this package writes a file: whole or not at all, or line by line at its end; and
what a reader is told of a file that is absent or damaged.

Whole: a temporary file in the same folder is written, flushed to disk and renamed over the target,
so a kill at any moment leaves the old file or the new one. Cost: one fsync a file (about a
millisecond); folders are not fsynced, so a power cut may undo the last rename, never tear a file.
Lines: a kill can only tear the last one; the next writer ends it, so readers skip it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustllm_repro.errors import OutputError, ReproError, SourceCorrupt, SourceMissing

# A file of this suffix is unfinished: a kill may leave it behind, and nothing ever reads it.
PARTIAL = ".partial"


def write_with(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file, then put it in place of `path`.

    The temporary name has another suffix, so that what a kill leaves behind is never taken for a
    result; `write` must not choose a format by suffix. Raises OutputError.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=PARTIAL, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with open(temporary, "rb") as f:
            os.fsync(f.fileno())
        temporary.chmod(0o644)  # mkstemp makes files private; results are to be read by others
        os.replace(temporary, path)
    except OSError as e:
        raise OutputError(
            f"cannot write {path}: {e.strerror or e}; the earlier file is untouched",
            remedy="free space or choose another --out, then run again",
        ) from e
    finally:
        if temporary:
            with contextlib.suppress(OSError):  # a folder that became read-only keeps it
                temporary.unlink(missing_ok=True)
    return path


def write_bytes(path: str | Path, data: bytes) -> Path:
    return write_with(path, lambda p: p.write_bytes(data))


def write_text(path: str | Path, text: str) -> Path:
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> Path:
    """Stable JSON: sorted keys, one final newline. NaN is refused: store None with a reason."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


@contextlib.contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """What goes wrong while a file is read is a SourceMissing or SourceCorrupt that names it."""
    try:
        yield
    except FileNotFoundError as e:
        raise SourceMissing(f"{path} does not exist", remedy=remedy) from e
    except (ReproError, MemoryError):
        raise
    except Exception as e:  # each format has its own errors for damage
        raise SourceCorrupt(f"{path} cannot be read: {e}", remedy=remedy) from e


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@dataclass
class JsonLines:
    """A file of JSON objects, safe against kills and against several writers."""

    path: Path

    def read(self) -> Iterator[dict[str, Any]]:
        """Objects in file order; lines that are none are skipped."""
        with reading(self.path, "see that the file may be read"):
            data = self.path.read_bytes() if self.path.exists() else b""
        for line in data.split(b"\n"):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
                continue
            if isinstance(value, dict):
                yield value

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows; when this returns they are on disk. An OutputError leaves what was there whole."""
        lines = "".join(json.dumps(r, sort_keys=True, allow_nan=False) + "\n" for r in rows)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab+") as f:
                fcntl.flock(f, fcntl.LOCK_EX)
                self._write(f.fileno(), lines.encode())
        except OSError as e:
            raise OutputError(
                f"cannot append to {self.path}: {e.strerror or e}",
                remedy="free space or choose another --out, then run again: nothing is asked twice",
            ) from e

    @staticmethod
    def _write(handle: int, data: bytes) -> None:
        """Append all of it or, if the disk fills, nothing."""
        size = os.lseek(handle, 0, os.SEEK_END)
        if size and os.pread(handle, 1, size - 1) != b"\n":
            data = b"\n" + data  # a killed writer left a torn line
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
