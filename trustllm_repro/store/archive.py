"""One way to read a ZIP file or a folder, so that every source may be given as either."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.store.atomic import PARTIAL

# A ZIP that unpacks to more than this is not one of ours (the recorded answers take 105 MiB).
MAX_UNPACKED = 2 * 1024**3
_LITTER = re.compile(rf"__MACOSX/|\.DS_Store|{re.escape(PARTIAL)}$")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Archive:
    """Read-only view of the files in a ZIP or below a folder; nothing is ever extracted to disk.

    Raises SourceMissing: the path does not exist; SourceCorrupt: not a ZIP, truncated, of absurd
    size, or with a member whose path leaves it, as no ZIP of ours or the papers' authors has.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise SourceMissing(
                f"no such ZIP or folder: {self.path}",
                remedy="give the path of an existing file, or run `trustllm-repro fetch`",
            )
        self._zip = _open_zip(self.path) if self.path.is_file() else None

    def names(self) -> list[str]:
        """Sorted POSIX paths of all files, without folders, desktop litter and unfinished writes."""
        if self._zip is not None:
            found = [n for n in self._zip.namelist() if not n.endswith("/")]
        else:
            files = (p for p in self.path.rglob("*") if p.is_file())
            found = [p.relative_to(self.path).as_posix() for p in files]
        names = sorted(n for n in found if not _LITTER.search(n))
        for name in names:
            if name.encode("utf-8", "replace").decode() != name:
                raise SourceCorrupt(
                    f"{self.path}: the file name {name!a} is not UTF-8", remedy="rename that file"
                )
        return names

    def read(self, name: str) -> bytes:
        """Bytes of one member; a ZIP's own CRC is checked on the way."""
        try:
            if self._zip is not None:
                return self._zip.read(name)
            return (self.path / name).read_bytes()
        except (KeyError, FileNotFoundError) as e:
            raise SourceMissing(
                f"{self.path} has no file {name!r}", remedy="give the archive that holds it"
            ) from e
        except Exception as e:  # each way of packing has its own errors for damage
            raise SourceCorrupt(
                f"{self.path}: {name} cannot be read ({e})",
                remedy="the archive is damaged, or the file may not be read: fetch it again "
                "(`trustllm-repro fetch`)",
            ) from e

    def digest(self) -> str:
        """sha256 of a ZIP's bytes, or of the sorted (path, sha256) list of a folder."""
        if self._zip is not None:
            return sha256(self.path.read_bytes())
        lines = "".join(f"{n} {sha256(self.read(n))}\n" for n in self.names())
        return sha256(lines.encode())


def _open_zip(path: Path) -> zipfile.ZipFile:
    remedy = "fetch the file again (`trustllm-repro fetch`); it is incomplete or altered"
    try:
        found = zipfile.ZipFile(path)
    except Exception as e:  # damage shows as one of half a dozen unrelated classes
        raise SourceCorrupt(f"{path} is not a readable ZIP: {e}", remedy=remedy) from e
    names = found.namelist()
    faults = [f"member {n!r} points outside the archive" for n in names if not _is_inside(n)]
    faults += [f"member {n!r} is there twice" for n, times in Counter(names).items() if times > 1]
    if sum(i.file_size for i in found.infolist()) > MAX_UNPACKED:
        faults.append("unpacks to more than 2 GiB")
    if faults:
        raise SourceCorrupt(f"{path}: {faults[0]}", remedy=remedy)
    return found


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not (path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]))


def open_archives(given: str | Path | Sequence[str | Path]) -> list[Archive]:
    """The archives at one path or at several, in that order; a folder also means the ZIPs in it."""
    paths = [Path(p) for p in ([given] if isinstance(given, str | Path) else given)]
    if not paths:
        raise SourceMissing("no archive was named", remedy="give the path of a ZIP or folder")
    packed = [z for p in paths for z in (p, *(sorted(p.glob("*.zip")) if p.is_dir() else ()))]
    return [Archive(p) for p in dict.fromkeys(packed)]
