"""The one way this package writes a file: whole or not at all.

A temporary file in the same folder is written, flushed to disk and renamed over the target, so a
kill at any moment leaves the old file or the new one. Cost: one fsync a file (about a
millisecond); folders are not fsynced, so a power cut may undo the last rename, never tear a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trustllm_repro.errors import OutputError

# A file of this suffix is unfinished: a kill may leave it behind, and nothing ever reads it.
PARTIAL = ".partial"


def write_with(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file, then put it in place of `path`.

    The temporary name has another suffix than `path`, so that what a kill leaves behind is never
    taken for a result; `write` must not choose a format by suffix.

    Raises:
        OutputError: folder read-only, disk full, or the path is a folder.
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
