"""From what a user writes after --model to a model that answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trustllm_repro.errors import SourceMissing
from trustllm_repro.models import hub
from trustllm_repro.models.quiet import offline_unless_asked
from trustllm_repro.models.weights import converted
from trustllm_repro.models.wheels import SHIPPED, shipped_folder

if TYPE_CHECKING:
    from trustllm_repro.models.base import LanguageModel

FORMS = (
    "a folder with safetensors, a .gguf file, a hub id with its revision (org/name@commit), an "
    f"endpoint (http://host:port/v1#model), or a model that comes in wheels ({', '.join(SHIPPED)}); "
    "vllm: before any but an endpoint lets vLLM run it"
)


def find_model(
    spec: str,
    *,
    dtype: str = "float32",
    device: str = "auto",
    batch_size: int = 0,
    system: str = "default",
    sampling: str = "plain",
) -> LanguageModel:
    """Load the model a user names.

    Args:
        dtype, device, batch_size, system, sampling: as for LocalModel. An endpoint has its own: it
            is sent no system message, and draws as it does.

    Raises:
        SettingsError: the name has none of the known forms, a hub id has no revision, or LocalModel
            or VllmModel refuses an argument.
        SourceMissing, SourceCorrupt: not there, damaged, pickled, or in need of its own code.
    """
    if spec.startswith(("http://", "https://")):
        from trustllm_repro.models.endpoint import Endpoint

        return Endpoint.of(spec)
    if spec.startswith("vllm:"):
        from trustllm_repro.models.vllm import VllmModel

        folder, name = model_folder(spec.removeprefix("vllm:"))
        return VllmModel(folder, name, dtype, system, sampling)
    folder, name = model_folder(spec)
    from trustllm_repro.models.local import LocalModel

    return LocalModel(folder, name, dtype, device, batch_size, system=system, sampling=sampling)


def model_folder(spec: str) -> tuple[Path, str]:
    """Folder of a model on this machine (brought or converted if need be), and its name.

    Raises:
        SettingsError, SourceMissing, SourceCorrupt: as for `find_model`.
    """
    path = Path(spec).expanduser()
    if path.suffix != ".gguf" and (repo := hub.named(spec)):
        return hub.snapshot(spec), repo.split("/")[1]
    offline_unless_asked()
    if path.is_dir():
        return path, path.resolve().name
    if path.suffix == ".gguf":
        return converted(path), path.stem
    if spec in SHIPPED:
        return shipped_folder(SHIPPED[spec]), spec
    raise SourceMissing(f"no model {spec!r}", remedy=f"give {FORMS}")
