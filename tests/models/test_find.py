"""What a user may write after --model."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.models.tiny_gguf import write_gguf
from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTLLM_DATA", str(tmp_path / "home"))
    # The variable HF_HUB_OFFLINE is read once, on import.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_folder(tiny):
    model = find_model(str(tiny), dtype="bfloat16", device="cpu", batch_size=7)
    assert isinstance(model, LocalModel)
    assert (model.name, model.batch_size, model.identity["dtype"]) == (tiny.name, 7, "bfloat16")


@pytest.mark.parametrize("spec", [".", "./", "../{name}", "{name}"])
def test_a_folder_by_relative_path_has_its_own_name(tiny, monkeypatch, spec):
    inside = not spec.startswith("{")
    monkeypatch.chdir(tiny if inside else tiny.parent)
    assert find_model(spec.format(name=tiny.name)).name == tiny.name


def test_a_folder_that_looks_like_a_hub_id(tiny, tmp_path, monkeypatch):
    shutil.copytree(tiny, tmp_path / "org" / "model")
    monkeypatch.chdir(tmp_path)
    assert find_model("org/model").name == "model"


def test_a_folder_below_the_users_own(tiny, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny.parent))
    assert find_model(f"~/{tiny.name}").name == tiny.name


def test_a_gguf_file(tiny, tmp_path):
    pytest.importorskip("gguf")
    path = write_gguf(tiny, tmp_path / "my-model.gguf")
    assert find_model(str(path)).name == "my-model"


def test_a_hub_id_needs_a_revision():
    with pytest.raises(SettingsError, match="no revision") as caught:
        find_model("some-org/some-model")
    assert "some-org/some-model@" in caught.value.remedy


def test_a_hub_id_that_cannot_be_reached(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SourceMissing, match=COMMIT) as caught:
        find_model(f"some-org/no-such-model@{COMMIT}")
    assert "local folder" in caught.value.remedy


@pytest.mark.parametrize(
    "spec", ["/no/such/folder", "./no/such", "nothing", "no such model", "a/b/c"]
)
def test_what_is_nothing_is_named_with_the_known_forms(spec):
    with pytest.raises(SourceMissing) as caught:
        find_model(spec)
    assert spec in str(caught.value)
    assert "smollm2-135m" in caught.value.remedy


def test_a_gguf_file_that_is_not_there():
    with pytest.raises(SourceMissing, match=r"nowhere\.gguf"):
        find_model("./nowhere.gguf")


def test_an_endpoint():
    """Nothing is asked of it yet; tests/models/test_endpoint.py asks."""
    from trustllm_repro.models.endpoint import Endpoint

    model = find_model("http://127.0.0.1:9/v1#some-model")
    assert isinstance(model, Endpoint)
    assert "some-model" in model.name
