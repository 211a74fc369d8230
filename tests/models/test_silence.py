"""What loading and asking a model changes outside of it: nothing."""

from __future__ import annotations

import logging
import os
import random
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np  # noqa: E402
from huggingface_hub.utils import are_progress_bars_disabled  # noqa: E402
from transformers.utils import logging as advice  # noqa: E402

from tests.models.tiny_gguf import write_gguf  # noqa: E402
from trustllm_repro.models.base import Request  # noqa: E402
from trustllm_repro.models.find import find_model  # noqa: E402
from trustllm_repro.models.weights import silence  # noqa: E402


def process_state() -> dict[str, object]:
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    return {
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "levels": {r.name: (r.level, r.disabled, len(r.handlers)) for r in loggers if r.level},
        "bars": (advice.is_progress_bar_enabled(), are_progress_bars_disabled()),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "precision": torch.get_float32_matmul_precision(),
        "draws of torch": torch.get_rng_state().tolist(),
        "draws of numpy": str(np.random.get_state()),
        "draws of python": random.getstate(),
    }


@pytest.mark.parametrize("stock", [False, True])
@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_loading_and_asking_changes_nothing_in_the_process(
    tiny: Path, tmp_path: Path, monkeypatch, stock: bool, kind: str
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TRUSTLLM_DATA", str(tmp_path / "home"))
    spec = tiny
    if kind == "gguf":
        pytest.importorskip("gguf")
        spec = write_gguf(tiny, tmp_path / "m.gguf")
    before = process_state()
    model = find_model(str(spec), stock=stock)
    list(model.complete([Request("a", 3), Request("b", 3, 1.0)]))
    list(model.score_options(["a"], [["yes", "no"]]))
    after = process_state()
    assert [name for name in before if before[name] != after[name]] == []


def test_silence_ends_when_loading_fails() -> None:
    from transformers import modeling_gguf_pytorch_utils as reader

    before, bar = process_state(), reader.tqdm
    with suppress(ValueError), silence():
        assert not advice.is_progress_bar_enabled()
        raise ValueError
    assert process_state() == before
    assert reader.tqdm is bar
