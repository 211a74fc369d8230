"""From what a user writes after --model to a model that answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models import hub
from trustllm_repro.models.weights import conversion_digest, converted
from trustllm_repro.models.wheels import WHEEL_MODELS

if TYPE_CHECKING:
    import torch

    from trustllm_repro.models.base import LanguageModel

FORMS = (
    "a folder with safetensors, a .gguf file, a hub id with its revision (org/name@commit), an "
    "endpoint (http://host:port/v1#model), or a model that comes in wheels "
    f"({', '.join(WHEEL_MODELS)})"
)


def find_model(
    spec: str | LanguageModel | torch.nn.Module,
    *,
    tokenizer: Any = None,
    name: str = "",
    dtype: str = "float32",
    device: str = "auto",
    batch_size: int = 0,
    stock: bool = False,
    system: str = "default",
    sampling: str = "plain",
) -> LanguageModel:
    """The model a user names, or holds in memory.

        find_model("smollm2-135m", stock=True).model      # transformers' own, with gradients
        find_model(model, tokenizer=tokenizer, name="mine")

    Args:
        spec: one of FORMS; a model of transformers, with its `tokenizer`; or any LanguageModel.
        name and further arguments: as for LocalModel. A model held in memory has its own dtype and
            device. An endpoint is sent no system message, draws as it does, and gets `batch_size`
            calls at a time.

    Raises:
        SettingsError: the name has none of the known forms, a hub id has no revision, a model held
            in memory comes without its tokenizer, or LocalModel refuses an argument.
        SourceMissing, SourceCorrupt: not there, damaged, pickled, or in need of its own code.
    """
    if isinstance(spec, str) and spec.startswith(("http://", "https://")):
        from trustllm_repro.models.endpoint import Endpoint

        return Endpoint.of(spec, batch_size)
    from trustllm_repro.models.local import HeldModel, LocalModel

    if isinstance(spec, str):
        found = model_folder(spec)
        return LocalModel(
            found.path, name or found.name, dtype, device, batch_size, stock, system, sampling,
            found.digest,
        )  # fmt: skip
    if tokenizer is not None:
        return HeldModel(spec, tokenizer, name, batch_size, system, sampling)
    if isinstance(spec, LocalModel):
        return spec.asking(system, sampling)
    if not hasattr(spec, "complete"):
        raise SettingsError(
            "a model held in memory needs its tokenizer",
            remedy="find_model(model, tokenizer=tokenizer)",
        )
    return spec


class ModelFolder(NamedTuple):
    """Where a model lies, its name, and the digest of its weights if they were hashed already."""

    path: Path
    name: str
    digest: str = ""


def model_folder(spec: str) -> ModelFolder:
    """A model's folder on this machine; downloaded or converted first if need be.

    Raises:
        SettingsError, SourceMissing, SourceCorrupt: as for `find_model`.
    """
    path = Path(spec).expanduser()
    if path.suffix != ".gguf" and (repo := hub.named(spec)):
        return ModelFolder(hub.snapshot(spec), repo.split("/")[1])
    if path.is_dir():
        return ModelFolder(path, path.resolve().name)
    if path.suffix == ".gguf":
        folder, name = converted(path), path.stem
    elif spec in WHEEL_MODELS:
        folder, name = WHEEL_MODELS[spec].folder(), spec
    else:
        raise SourceMissing(f"no model {spec!r}", remedy=f"give {FORMS}")
    return ModelFolder(folder, name, conversion_digest(folder))
