"""A copy of the project in a folder of its own, with notebooks a test may change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import yaml

from trustllm_repro.paths import project_root
from trustllm_repro.scoring.results import VERIFY

FIRST, SECOND, THIRD, FOURTH = "00_provenance", "10_truthfulness", "11_safety", "12_fairness"
# What the first stage has to leave for the command line's last line.
MAKES_A_RUN = f"""\
from pathlib import Path
Path(run_dir).mkdir(parents=True, exist_ok=True)
Path(run_dir, "verify.csv").write_text("{",".join(VERIFY)}\\n")
Path(run_dir, "provenance.json").write_text("{{}}")"""


def tiny_notebook(name: str, *cells: str) -> nbformat.NotebookNode:
    """A notebook with the parameters and the metadata of the real one; it also says its name."""
    real = nbformat.read(project_root() / "notebooks" / f"{name}.ipynb", as_version=4)
    parameters = next(c for c in real.cells if "parameters" in c.metadata.get("tags", []))
    v4 = nbformat.v4
    code = [v4.new_code_cell(c) for c in (f"print('this is', {name!r})", *cells)]
    title = v4.new_markdown_cell(f"# {name}\n\nOne *sentence* in\ntwo lines. Another.")
    return v4.new_notebook(cells=[title, parameters, *code], metadata=real.metadata)


class Project:
    """Package, data and the notebooks of a profile called "tiny"; needs no installation."""

    def __init__(self, root: Path) -> None:
        self.root, self.notebooks = root, root / "notebooks"
        self.run = root / "runs" / "tiny"
        (self.notebooks / "profiles").mkdir(parents=True)

    def with_package(self, *, real_notebooks: bool = False) -> Project:
        """Copy what the command line needs; what others change meanwhile has no effect."""
        source, litter = project_root(), shutil.ignore_patterns("__pycache__", "kernel-*")
        for folder in ("trustllm_repro", "data", *(["notebooks"] if real_notebooks else [])):
            shutil.copytree(source / folder, self.root / folder, ignore=litter, dirs_exist_ok=True)
        return self

    def put(self, name: str, *cells: str) -> Path:
        path = self.notebooks / f"{name}.ipynb"
        nbformat.write(tiny_notebook(name, *cells), path)
        return path

    def profile(self, notebooks: Any, name: str = "tiny") -> Path:
        path = self.notebooks / "profiles" / f"{name}.yaml"
        content = {"describes": "for tests", "notebooks": notebooks}
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return path

    def tiny(self, *names: str) -> Project:
        """Notebooks of these names, the first of which makes the run folder."""
        for name in names:
            self.put(name, *([MAKES_A_RUN] if name == FIRST else []))
        self.profile({name: {} for name in names})
        return self

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "trustllm_repro.cli", *words]

    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.root), "COLUMNS": "500"}

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, cwd=self.root,
            env=self.environment(), check=False,
        )  # fmt: skip

    def reproduce(self, *words: str, profile: str = "tiny") -> subprocess.CompletedProcess[str]:
        return self.cli("reproduce", "--profile", profile, *words)

    def executed(self, name: str, profile: str = "tiny") -> nbformat.NotebookNode:
        path = self.root / "runs" / profile / "notebooks" / f"{name}.ipynb"
        return nbformat.read(path, as_version=4)


def printed(book: nbformat.NotebookNode) -> str:
    """What the cells of an executed notebook wrote to stdout."""
    return "".join(
        o.text
        for c in book.cells
        if c.cell_type == "code"
        for o in c.outputs
        if o.output_type == "stream" and o.name == "stdout"
    )
