"""A tiny model, loaded once for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Llama with a chat template."""
    pytest.importorskip("transformers")
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def model(tiny: Path):
    """The same as LocalModel, float32, on the CPU."""
    from trustllm_repro.models.local import LocalModel

    return LocalModel(tiny, device="cpu", batch_size=4)
