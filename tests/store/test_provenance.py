"""The description of the machine: its GPUs where torch sees any, and nothing where it does not."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from trustllm_repro.store import provenance as of


def torch_with(*names: str) -> SimpleNamespace:
    """What the description asks of torch, on a machine with these GPUs."""
    cuda = SimpleNamespace(
        is_available=lambda: bool(names),
        device_count=lambda: len(names),
        get_device_properties=lambda i: SimpleNamespace(name=names[i], total_memory=80 * 2**30),
    )
    return SimpleNamespace(cuda=cuda, version=SimpleNamespace(cuda="13.0"), __version__="2.13.0")


def test_gpus_are_named_with_memory_and_versions(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch_with("Card A", "Card B"))
    monkeypatch.setattr(of, "_said", lambda *words: "580.1\n580.1" if "nvidia-smi" in words else "")
    found = of.provenance({}, {})["gpu"]
    assert found == {
        "names": ["Card A", "Card B"], "memory_gib": [80.0, 80.0], "driver": "580.1",
        "cuda": "13.0", "torch": "2.13.0",
    }  # fmt: skip
    monkeypatch.setattr(of, "_said", lambda *words: None)
    assert of.gpus()["driver"] is None


def test_no_gpu_and_no_torch(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch_with())
    assert of.gpus() is None
    monkeypatch.delitem(sys.modules, "torch")
    assert of.provenance({}, {})["gpu"] is None
    assert "torch" not in sys.modules


def test_programs_that_are_not_there_say_nothing() -> None:
    assert of._said("no-such-program-at-all") is None
    assert of._said(sys.executable, "-c", "raise SystemExit(1)") is None
    assert of._said(sys.executable, "-c", "print(7)") == "7"
