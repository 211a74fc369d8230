"""Append-only JSON lines, safe against kills and against several writers of one file.

A kill can only tear the last line; the next writer ends it, so readers skip and count it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trustllm_repro.errors import OutputError, SourceCorrupt


@dataclass
class JsonLines:
    """One file of JSON objects. `torn` holds the numbers (from 1) of lines that cannot be read."""

    path: Path
    torn: list[int] = field(default_factory=list)

    def read(self) -> Iterator[dict[str, Any]]:
        """Objects in file order; unreadable lines are skipped and noted in `torn`."""
        self.torn = []
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as e:
            raise SourceCorrupt(
                f"{self.path} cannot be read: {e}", remedy="see that the file may be read"
            ) from e
        for number, line in enumerate(data.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
                value = None
            if isinstance(value, dict):
                yield value
            else:
                self.torn.append(number)

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows; when this returns they are on disk.

        Raises:
            OutputError: folder read-only or disk full. What was written before stays whole.
        """
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
