"""Fetching: by address with checks, from a copy, and going on after a cut."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from trustllm_repro.data import registry
from trustllm_repro.data.registry import HOST, fetch, remote_files
from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.store.archive import sha256

FILES = {f"recorded/results/x/m{i}/a.json": f"[{i}]".encode() for i in range(4)}


class Quiet(http.server.SimpleHTTPRequestHandler):
    served: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.served.append(self.path)
        super().do_GET()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A real HTTP server on the loopback interface, and a manifest that wants its files."""
    root = tmp_path / "www"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    Quiet.served = []
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(root))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"

    files = {name: (f"{address}/{name}", sha256(data)) for name, data in FILES.items()}
    monkeypatch.setattr(registry, "remote_files", lambda: files)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    yield root
    server.shutdown()
    server.server_close()


def test_fetch_checks_and_goes_on_after_a_cut(host: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    gone = host / "recorded/results/x/m2/a.json"
    gone.rename(host / "hidden")
    with pytest.raises(SourceMissing, match=r"2 of 4 files are in"):
        fetch(home=home)
    assert len(list(home.rglob("a.json"))) == 2
    (host / "hidden").rename(gone)
    Quiet.served.clear()
    assert len(fetch(home=home)[0]) == 4
    assert len(Quiet.served) == 2  # what was there already is not fetched again
    assert all((home / n).read_bytes() == d for n, d in FILES.items())


def test_wrong_bytes_are_refused_and_not_kept(host: Path, tmp_path: Path) -> None:
    (host / "recorded/results/x/m1/a.json").write_bytes(b"[999]")
    with pytest.raises(SourceCorrupt, match=r"m1/a\.json"):
        fetch(home=tmp_path / "home")
    assert not (tmp_path / "home/recorded/results/x/m1/a.json").exists()


def test_a_damaged_copy_on_disk_is_fetched_again(host: Path, tmp_path: Path) -> None:
    fetch(home=tmp_path / "home")
    target = tmp_path / "home/recorded/results/x/m3/a.json"
    target.write_bytes(b"damaged")
    fetch(home=tmp_path / "home")
    assert target.read_bytes() == b"[3]"


def test_from_a_folder(host: Path, tmp_path: Path) -> None:
    written, absent = fetch(host / "recorded", tmp_path / "home")
    assert len(written) == 4
    assert absent == []
    (host / "recorded/results/x/m0/a.json").write_bytes(b"[7]")
    with pytest.raises(SourceCorrupt, match=r"m0/a\.json"):
        fetch(host / "recorded", tmp_path / "other")


def test_from_a_folder_without_known_files(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceMissing, match="none of the files"):
        fetch(tmp_path / "empty", tmp_path / "home")


def test_the_real_manifest_gives_addresses_by_commit_and_path() -> None:
    files = remote_files()
    assert len(files) == 363
    urls = {target: url for target, (url, _) in files.items()}
    commit = "4b864211f32602fddb8cafc8d5154bed1e0ce01e"
    assert urls["dataset.zip"].endswith(f"/{commit}/dataset/dataset.zip")
    other = urls["recorded/939ae21/results/safety/misuse/mistral-7b/misuse_add.json"]
    assert "/939ae21" in other
    assert "/939ae21/results" not in other  # the commit folder is not part of the repository
    later = urls["recorded/aware/gpt4-turbo/awareness.json"]
    assert later.startswith(f"{HOST}/HowieHwong/TrustLLM/24c03bad")
    assert later.endswith("/aware/gpt4-turbo/awareness.json")
    assert not any(" " in url for url in urls.values())
    assert all(len(digest) == 64 for _, digest in files.values())
