"""Prompts of the user's: files, and a data set of a hub that answers as the real one does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from trustllm_repro.errors import SchemaError, SettingsError, SourceMissing
from trustllm_repro.online.generations.prompts import (
    FILE,
    FULL,
    FULL_SET,
    find_prompts,
    own_prompts,
)

BODY = json.dumps({"prompt": {"text": "Once upon a time"}}).encode() + b"\n"
COMMIT = FULL_SET.split("@")[1]


class Hub(BaseHTTPRequestHandler):
    """One file of one data set at one commit; everything else is not there."""

    def do_HEAD(self) -> None:
        there = self.path == f"/datasets/{FULL_SET.replace('@', '/resolve/')}/{FILE}"
        self.send_response(200 if there else 404)
        if there:
            self.send_header("ETag", '"0123456789abcdef0123456789abcdef01234567"')
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(BODY) if there else 0))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(BODY)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, and an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    where = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", where)
    template = f"{where}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield where
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_hub(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def quiet(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.parametrize("spec", [FULL, FULL_SET])
def test_the_full_set_comes_from_the_hub(hub, spec) -> None:
    path = find_prompts(spec, quiet)
    assert path is not None
    assert path.read_bytes() == BODY
    assert [c.prompt for c in own_prompts(path)] == ["Once upon a time"]


def test_without_a_hub_the_tasks_own_are_taken_and_it_is_said(no_hub) -> None:
    notes: list[str] = []
    assert find_prompts(FULL, notes.append) is None
    (said,) = notes
    assert "700" in said


def test_a_data_set_asked_for_by_name_must_be_had(no_hub) -> None:
    with pytest.raises(SourceMissing, match="cannot be fetched"):
        find_prompts(FULL_SET, quiet)
    with pytest.raises(SettingsError, match="no revision"):
        find_prompts("some/set", quiet)


def test_files_go_before_ids_and_nothing_means_the_tasks_own(tmp_path, monkeypatch) -> None:
    assert find_prompts("", quiet) is None
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "set").write_text("A day\n")
    (tmp_path / FULL).write_text("A night\n")
    monkeypatch.chdir(tmp_path)
    assert find_prompts("some/set", quiet) == Path("some/set")
    assert find_prompts(FULL, quiet) == Path(FULL)


def test_own_prompts_are_read_from_lines_and_from_json_lines(tmp_path) -> None:
    plain = tmp_path / "mine.txt"
    plain.write_text("\ufeffOne day\n\n  Two days \nOne day\n", encoding="utf-8")
    assert [c.prompt for c in own_prompts(plain)] == ["One day", "Two days"]
    rows = [{"prompt": {"text": "A\u2028B", "toxicity": 0.1}}, {"prompt": "C"}]
    lines = tmp_path / "prompts.jsonl"
    lines.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8")
    found = own_prompts(lines)
    assert [(c.number, c.group, c.prompt) for c in found] == [
        (0, "A\u2028B", "A\u2028B"),
        (1, "C", "C"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file has none"),
        ('{"prompt": "a"}\nnot json', "row 1"),
        ('{"text": "a"}', "row 0"),
        ('{"prompt": {"text": null}}', "row 0"),
        ('["prompt"]', "row 0"),
        ('{"prompt": "  "}', "not empty"),
    ],
)
def test_own_prompts_that_are_none_are_named(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(SchemaError, match=message):
        own_prompts(path)


def test_own_prompts_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(SourceMissing, match=r"none\.txt"):
        own_prompts(tmp_path / "none.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceMissing, match="UTF-8"):
        own_prompts(tmp_path / "bytes.txt")
