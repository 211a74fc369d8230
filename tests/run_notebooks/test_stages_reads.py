"""What notebooks declare to read is what they read."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.project import Project
from trustllm_repro import paths
from trustllm_repro.errors import SettingsError
from trustllm_repro.paths import project_root
from trustllm_repro.run_notebooks import stages
from trustllm_repro.run_notebooks.stages import files_read, read_notebook

# Runs first in the kernel. The files pyarrow and safetensors open themselves are not seen by it.
NOTES_WHAT_IS_OPENED = """\
import os, sys
def _opened(event, arguments, to=os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
    if event == "open" and isinstance(arguments[0], str):
        os.write(to, os.path.abspath(arguments[0]).encode() + b"\\n")
sys.addaudithook(_opened)"""


@pytest.mark.slow
def test_every_file_of_data_that_is_opened_is_declared(tmp_path, monkeypatch):
    """All notebooks of the profile that asks no model; kernels run in a copy of the project."""
    project = Project(tmp_path / "project").with_package(real_notebooks=True)
    logs = {}
    for path in sorted(project.notebooks.glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        logs[path.stem] = str(tmp_path / f"{path.stem}.log")
        hook = NOTES_WHAT_IS_OPENED.format(log=logs[path.stem])
        book.cells.insert(0, nbformat.v4.new_code_cell(hook))
        nbformat.write(book, path)
    done = project.reproduce(profile="ledger")
    assert done.returncode == 0, done.stderr
    for module in (paths, stages):
        monkeypatch.setattr(module, "project_root", lambda: project.root)
    checked = [name for name, log in logs.items() if Path(log).exists()]
    assert len(checked) == 11
    undeclared = {name: opened(logs[name], project) - declared(name) for name in checked}
    assert {name: files for name, files in undeclared.items() if files} == {}


def opened(log: str, project: Project) -> set[str]:
    lines = Path(log).read_text(encoding="utf-8").splitlines()
    return {f for f in lines if f.startswith(str(project.root / "data"))}


def declared(name: str) -> set[str]:
    found = read_notebook(name)
    values = found.parameters().model_dump() | {"run_dir": "../runs/ledger"}
    return {str(Path(f).resolve()) for f in files_read(found.reads, values)}


# Files that pyarrow and safetensors open, which the hook does not see.
NATIVE = {
    "data/judges/refusal.safetensors": ("05_live", "20_pilot", "30_early_tokens_gpu"),
    "data/ledger/ledger.parquet": ("00_provenance", "05_live"),
    "data/live/smollm2-135m/ledger.parquet": ("10_truthfulness", "18_judges", "19_my_model"),
    "data/guards/harm-smollm2.guard": ("25_watch", "30_early_tokens_gpu"),
}


@pytest.mark.parametrize("file", NATIVE)
def test_files_that_native_readers_open_are_declared(file):
    for name in NATIVE[file]:
        assert str(project_root() / file) in declared(name), name


def test_a_notebook_that_declares_nothing_depends_on_all_data(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Mine")])
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "mine.ipynb").write_text(json.dumps(book), encoding="utf-8")
    found = read_notebook("mine")
    assert (found.needs, found.reads, found.model) == (("00_provenance",), ("data",), False)
    with pytest.raises(SettingsError, match="not permitted"):
        found.check({"limit": 3})
