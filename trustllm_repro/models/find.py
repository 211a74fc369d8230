"""From what a user writes after --model to a model that answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.quiet import offline_unless_asked
from trustllm_repro.models.weights import converted
from trustllm_repro.models.wheels import SHIPPED, shipped_folder

if TYPE_CHECKING:
    from trustllm_repro.models.base import LanguageModel

_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?")
FORMS = (
    "a folder with safetensors, a .gguf file, a hub id with its revision (org/name@commit), an "
    f"endpoint (http://host:port/v1#model), or a model that comes in wheels ({', '.join(SHIPPED)}); "
    "vllm: before any but an endpoint lets vLLM run it"
)


def find_model(
    spec: str, *, dtype: str = "float32", device: str = "auto", batch_size: int = 0
) -> LanguageModel:
    """Load the model a user names.

    Raises:
        SettingsError: the name has none of the known forms, or a hub id has no revision.
        SourceMissing, SourceCorrupt: not there, damaged, pickled, or in need of its own code.
    """
    if spec.startswith(("http://", "https://")):
        from trustllm_repro.models.endpoint import Endpoint

        return Endpoint.of(spec)
    if spec.startswith("vllm:"):
        from trustllm_repro.models.vllm import VllmModel

        return VllmModel(*model_folder(spec.removeprefix("vllm:")), dtype=dtype)
    folder, name = model_folder(spec)
    from trustllm_repro.models.local import LocalModel

    return LocalModel(folder, name, dtype, device, batch_size)


def model_folder(spec: str) -> tuple[Path, str]:
    """Folder of a model on this machine (brought or converted if need be), and its name.

    Raises:
        SettingsError, SourceMissing, SourceCorrupt: as for `find_model`.
    """
    path = Path(spec).expanduser()
    hub = _HUB.fullmatch(spec) if path.suffix != ".gguf" else None
    if hub and not path.exists() and not spec.startswith((".", "/", "~")):
        return _from_hub(hub["repo"], hub["revision"]), hub["repo"].split("/")[1]
    offline_unless_asked()
    if path.is_dir():
        return path, path.resolve().name
    if path.suffix == ".gguf":
        return converted(path), path.stem
    if spec in SHIPPED:
        return shipped_folder(SHIPPED[spec]), spec
    raise SourceMissing(f"no model {spec!r}", remedy=f"give {FORMS}")


def _from_hub(repo: str, revision: str | None) -> Path:
    """Snapshot of a hub model: safetensors, configs and tokenizer, no code, no pickles."""
    if not revision:
        raise SettingsError(
            f"the hub id {repo!r} has no revision, so nobody could repeat the run",
            remedy=f"pin one: {repo}@<commit> (the commit stands on the model's page under Files)",
        )
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt"],
        )
    except Exception as e:  # the hub's errors are many: gated, absent, offline, disk full
        raise SourceMissing(
            f"{repo}@{revision} cannot be had from the hub: {type(e).__name__}: {e}",
            remedy="check id, revision, network and access token (environment variable HF_TOKEN), "
            "or give a local folder",
        ) from e
    return Path(folder)
