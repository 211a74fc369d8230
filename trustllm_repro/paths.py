"""Places: the checkout, its committed data, and the folder sources are kept in."""

from __future__ import annotations

import os
from pathlib import Path


def project_root() -> Path:
    """The checkout that holds data/, notebooks/ and figures/ (installed in editable mode)."""
    return Path(__file__).resolve().parents[1]


def data_dir() -> Path:
    """The committed facts."""
    return project_root() / "data"


def data_home() -> Path:
    """Where sources are kept: TRUSTLLM_DATA if set, else the user's cache folder."""
    given = os.environ.get("TRUSTLLM_DATA")
    if given:
        return Path(given)
    # pooch loads tqdm, which warns inside notebooks; so it is only imported when it is needed.
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pooch
    return Path(pooch.os_cache("trustllm-repro"))
