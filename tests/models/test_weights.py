"""What may be loaded, what is refused, and conversions that are made once."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.models.prompts import answers, requests
from tests.models.tiny_gguf import write_gguf
from tests.tiny import tiny_model
from trustllm_repro.errors import OutputError, SourceCorrupt, SourceMissing
from trustllm_repro.models.local import LocalModel
from trustllm_repro.models.weights import (
    CARD,
    check_folder,
    converted,
    converted_once,
    digest_of,
    tokenizer_digest,
)
from trustllm_repro.store.atomic import PARTIAL


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    return shutil.copytree(tiny, tmp_path / "copy")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TRUSTLLM_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


def change(path: Path, **values) -> None:
    known = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**known, **values}), encoding="utf-8")


def refused(kind: type, folder: Path, words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        LocalModel(folder)
    assert str(folder) in str(caught.value)
    assert caught.value.remedy


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_whole_folder_is_accepted(tiny):
    assert [p.name for p in check_folder(tiny)] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "model.pkl"])
def test_pickled_weights_are_refused_and_never_opened(copy, tmp_path, name):
    (copy / "model.safetensors").unlink()
    (copy / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    refused(SourceCorrupt, copy, "pickled")
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_beside_safe_ones_are_left_alone(copy, tmp_path):
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    assert len(answers(LocalModel(copy), requests(2))) == 2
    assert not (tmp_path / "ran").exists()


def test_a_model_that_needs_its_own_code_is_refused(copy, tmp_path):
    code = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    (copy / "own.py").write_text(code)
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    change(copy / "config.json", model_type="own-model", auto_map=auto)
    refused(SourceCorrupt, copy, "code")
    assert not (tmp_path / "ran").exists()


def test_code_beside_a_known_model_is_not_run(copy, tmp_path):
    (copy / "own.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()"
    )
    change(copy / "config.json", auto_map={"AutoModelForCausalLM": "own.Model"})
    change(copy / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", None]})
    assert len(answers(LocalModel(copy), requests(2))) == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no \\*.safetensors"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_what_is_missing_is_named(copy, missing, words):
    (copy / missing).unlink()
    refused(SourceMissing, copy, words)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "7", '{"model_type": null}', '{"model_type": []}']
)
def test_a_config_that_is_none_is_named(copy, text):
    (copy / "config.json").write_text(text)
    refused(SourceCorrupt, copy, "config.json|not part of transformers")


def test_no_folder_at_all(tmp_path):
    refused(SourceMissing, tmp_path / "nowhere", "not a model folder")


def test_digests_see_names_and_contents(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    one = digest_of([tmp_path / "a", tmp_path / "b"])
    assert one == digest_of([tmp_path / "b", tmp_path / "a"])
    assert one != digest_of([tmp_path / "a"])
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / "b").write_bytes(b"1")
    assert one != digest_of([tmp_path / "a", tmp_path / "b"])


def test_the_tokenizers_digest_ignores_how_it_was_loaded(copy):
    before = tokenizer_digest(copy)
    change(
        copy / "tokenizer_config.json",
        local_files_only=True, name_or_path="/elsewhere", padding_side="left", is_local=False,
        transformers_version="9", tokenizer_file="x",
    )  # fmt: skip
    assert tokenizer_digest(copy) == before


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tokenizer_config.json", {"chat_template": "{{ messages }}"}),
        ("tokenizer_config.json", {"add_bos_token": True}),
        ("tokenizer_config.json", {"eos_token": "<|user|>"}),
        ("tokenizer.json", {"truncation": {"max_length": 3}}),
        ("special_tokens_map.json", {"eos_token": "<|user|>"}),
    ],
)
def test_the_tokenizers_digest_sees_what_it_does(copy, name, values):
    before = tokenizer_digest(copy)
    if not (copy / name).exists():
        (copy / name).write_text("{}")
    change(copy / name, **values)
    assert tokenizer_digest(copy) != before


def test_the_tokenizers_digest_sees_the_template_file(copy):
    before = tokenizer_digest(copy)
    (copy / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert tokenizer_digest(copy) != before


def test_a_tokenizer_config_that_is_not_json_is_named(copy):
    for text in ("{", "[]"):
        (copy / "tokenizer_config.json").write_text(text)
        with pytest.raises(SourceCorrupt, match="tokenizer_config") as caught:
            tokenizer_digest(copy)
        assert caught.value.remedy


# Conversions


class Maker:
    """Converts by writing one file, and counts how often."""

    def __init__(self, text: str = "made") -> None:
        self.text, self.calls = text, 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "model.safetensors").write_text(self.text)
        os.chmod(folder / "model.safetensors", 0o600)


DIGEST = "0123456789abcdef" * 4


def test_a_conversion_is_made_once(home):
    make = Maker()
    first = converted_once(DIGEST, make)
    assert converted_once(DIGEST, make) == first
    assert make.calls == 1
    assert first.parent == home / "models"
    assert json.loads((first / CARD).read_text())["source_sha256"] == DIGEST
    assert (first / "model.safetensors").stat().st_mode & 0o777 == 0o644  # others may read it
    assert [p.name for p in (home / "models").iterdir()] == [first.name]


def test_a_conversion_that_fails_leaves_nothing(home):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise SourceCorrupt("broken on the way")

    with pytest.raises(SourceCorrupt, match="broken on the way"):
        converted_once(DIGEST, fail)
    assert list((home / "models").iterdir()) == []
    assert converted_once(DIGEST, Maker()).is_dir()


def test_what_a_killed_conversion_left_is_not_taken_for_one(home):
    left = home / "models" / f".{DIGEST[:16]}-abcd{PARTIAL}"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_text("half")
    make = Maker()
    assert (converted_once(DIGEST, make) / "model.safetensors").read_text() == "made"
    assert make.calls == 1


def test_of_two_at_once_the_first_counts(home):
    def slow(folder: Path) -> None:
        Maker("slow")(folder)
        converted_once(DIGEST, Maker("quick"))  # another process was quicker

    assert (converted_once(DIGEST, slow) / "model.safetensors").read_text() == "quick"
    assert [p.name for p in (home / "models").iterdir()] == [DIGEST[:16]]


@pytest.mark.parametrize("how", ["cut", "gone", "card", "no card"])
def test_a_damaged_conversion_is_refused_with_the_way_out(home, how):
    folder = converted_once(DIGEST, Maker())
    target = folder / (CARD if "card" in how else "model.safetensors")
    if how in ("gone", "no card"):
        target.unlink()
    else:
        target.write_bytes(target.read_bytes()[:2])
    with pytest.raises(SourceCorrupt) as caught:
        converted_once(DIGEST, Maker())
    assert f"delete {folder}" in caught.value.remedy
    shutil.rmtree(folder)
    assert converted_once(DIGEST, Maker()) == folder


def test_a_data_folder_that_cannot_be_written_is_named(home):
    home.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="home") as caught:
        converted_once(DIGEST, Maker())
    assert "TRUSTLLM_DATA" in caught.value.remedy


# GGUF


def test_a_gguf_file_gives_the_answers_of_the_model_it_was_made_of(home, tiny, tmp_path, capfd):
    pytest.importorskip("gguf")
    path = write_gguf(tiny, tmp_path / "tiny.gguf")
    capfd.readouterr()
    folder = converted(path)
    assert capfd.readouterr() == ("", "")  # neither bars nor advice
    assert [p.name for p in check_folder(folder)] == ["model.safetensors"]
    model = LocalModel(folder)
    assert model.identity["template"] == "chat"
    want = answers(LocalModel(tiny), requests(12))
    assert answers(model, requests(12)) == want
    before = (folder / CARD).stat().st_mtime_ns
    moved = shutil.move(path, tmp_path / "other-name.gguf")
    assert converted(Path(moved)) == folder  # known by content
    assert (folder / CARD).stat().st_mtime_ns == before


@pytest.mark.parametrize("keep", [0, 3, 2000, -100])
def test_a_damaged_gguf_file_is_named(home, tiny, tmp_path, keep):
    pytest.importorskip("gguf")
    path = write_gguf(tiny, tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SourceCorrupt, match=r"tiny\.gguf") as caught:
        converted(path)
    assert caught.value.remedy
    assert list((home / "models").iterdir()) == []


def test_no_gguf_file(home, tmp_path):
    with pytest.raises(SourceMissing, match=r"nowhere\.gguf"):
        converted(tmp_path / "nowhere.gguf")


def test_two_seeds_are_two_models(tmp_path, tiny):
    other = tiny_model(tmp_path / "other", seed=1)
    one, two = LocalModel(tiny), LocalModel(other)
    assert one.identity["weights"] != two.identity["weights"]
    assert one.identity["tokenizer"] == two.identity["tokenizer"]
    assert answers(one, requests(3)) != answers(two, requests(3))
