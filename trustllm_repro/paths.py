"""Places: the checkout, its committed data, and the folder sources are kept in."""

import os
from pathlib import Path


def project_root() -> Path:
    """The checkout that holds data/, notebooks/ and figures/ (installed in editable mode)."""
    return Path(__file__).resolve().parents[1]


def notebooks_dir() -> Path:
    return project_root() / "notebooks"


def data_dir() -> Path:
    """The committed facts."""
    return project_root() / "data"


def data_home() -> Path:
    """Where sources are kept: TRUSTLLM_DATA if set, else the user's cache folder."""
    if given := os.environ.get("TRUSTLLM_DATA"):
        return Path(given)
    import pooch  # slow, and seldom needed

    return pooch.os_cache("trustllm-repro")
