"""What a user names by a hub id: always at a pinned revision, so that the run can be repeated."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trustllm_repro.errors import SettingsError, SourceMissing

_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?")


def named(spec: str) -> str:
    """The repository (org/name) a user's word names; "" if it is a path, or nothing of the form."""
    found = _ID.fullmatch(spec)
    if not found or spec.startswith((".", "/", "~")) or Path(spec).exists():
        return ""
    return found["repo"]


def snapshot(spec: str) -> Path:
    """Folder of a model (org/name@commit): safetensors, configs and tokenizer, no code, no pickles.

    Raises:
        SettingsError: no revision. SourceMissing: the hub does not give it.
    """
    from huggingface_hub import snapshot_download

    wanted = ["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt"]
    return _fetched(spec, snapshot_download, allow_patterns=wanted)


def dataset_file(spec: str, name: str) -> Path:
    """One file of a data set. Errors as for `snapshot`."""
    from huggingface_hub import hf_hub_download

    return _fetched(spec, hf_hub_download, filename=name, repo_type="dataset")


def _fetched(spec: str, fetch: Callable[..., str], **more: Any) -> Path:
    found = _ID.fullmatch(spec)
    if not found or not found["revision"]:
        raise SettingsError(
            f"the hub id {spec!r} has no revision, so nobody could repeat the run",
            remedy=f"pin one: {spec}@<commit> (the commit stands on its page under Files)",
        )
    try:
        return Path(fetch(found["repo"], revision=found["revision"], **more))
    except Exception as e:  # the hub's errors are many: gated, absent, offline, disk full
        raise SourceMissing(
            f"{spec} cannot be fetched from the hub: {type(e).__name__}: {e}",
            remedy="check id, revision, network and access token (environment variable HF_TOKEN), "
            "or give a local folder or file",
        ) from e
