"""Wheels that lie in this machine's data folder: tests read them, and download nothing."""

from __future__ import annotations

import os

import pytest

from trustllm_repro.paths import data_home

HOME = os.environ.get("TRUSTLLM_DATA")  # before the tests hide it


def use_cached(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Show the data folder to this test; skip it where a wheel is not there."""
    if HOME is None:
        monkeypatch.delenv("TRUSTLLM_DATA")
    else:
        monkeypatch.setenv("TRUSTLLM_DATA", HOME)
    for package in packages:
        if not list((data_home() / "wheels").glob(f"{package}-*.whl")):
            pytest.skip(f"{package} is not in the data folder")
