"""The committed notebooks: form, parameters, length, and what must not stand in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from trustllm_repro.paths import project_root
from trustllm_repro.run_notebooks.stages import load_profile, read_notebook

FOLDER = project_root() / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
PROFILES = sorted(p.stem for p in (FOLDER / "profiles").glob("*.yaml"))
MAX_LINES, MAX_FUNCTION = 15, 5

every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)


def load(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def parameters_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [c for c in load(path).cells if "parameters" in c.metadata.get("tags", [])]


def parameters(path: Path) -> dict[str, Any]:
    """Names and values assigned in the parameters cell, which holds nothing else."""
    tree = ast.parse(parameters_cells(path)[0].source)
    found = {}
    for statement in tree.body:
        assert isinstance(statement, ast.Assign | ast.AnnAssign)
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        (target,) = targets
        assert isinstance(target, ast.Name)
        assert statement.value is not None
        found[target.id] = ast.literal_eval(statement.value)
    return found


def test_there_are_notebooks_and_profiles():
    assert len(PATHS) == 19
    assert {"embedded", "gpu", "paper", "smoke"} <= set(PROFILES)


@every_notebook
def test_the_file_is_valid_and_of_format_4(path):
    book = load(path)
    nbformat.validate(book)
    assert book.nbformat == 4
    assert book.metadata.kernelspec.name == "python3"
    assert len({c.id for c in book.cells}) == len(book.cells)


@every_notebook
def test_nothing_was_run(path):
    for cell in load(path).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@every_notebook
def test_only_markdown_and_short_code(path):
    cells = load(path).cells
    assert {c.cell_type for c in cells} <= {"markdown", "code"}
    for cell in cells:
        if cell.cell_type == "code":
            assert 1 <= len(cell.source.splitlines()) <= MAX_LINES
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    assert node.end_lineno - node.lineno < MAX_FUNCTION


@every_notebook
def test_it_begins_with_a_title(path):
    first = load(path).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


@every_notebook
def test_the_parameters_carry_type_and_meaning(path):
    """papermill shows the annotation and the comment of each parameter."""
    (cell,) = parameters_cells(path)
    given = parameters(path)
    assert next(iter(given)) == "run_dir"
    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.AnnAssign)
        assert ast.unparse(statement.annotation) == type(given[statement.target.id]).__name__
    assert all(re.search(r"  # \w+", line) for line in cell.source.splitlines())


@every_notebook
def test_what_it_declares_is_there(path):
    """Needs are notebooks before it, bounds are of its parameters, and globs of data/ match."""
    declared = load(path).metadata.trustllm
    assert set(declared) <= {"needs", "reads", "model", "parameters"}
    assert all(n < path.stem and FOLDER.joinpath(f"{n}.ipynb").exists() for n in declared["needs"])
    assert set(declared.get("parameters", {})) <= set(parameters(path))
    for pattern in declared["reads"]:
        files = pattern.partition(" if ")[0]
        assert "{" in files or list(project_root().glob(files)), pattern


@every_notebook
def test_the_values_it_is_opened_with_are_accepted(path):
    assert read_notebook(path.stem).check(parameters(path)) == parameters(path)


@every_notebook
def test_every_parameter_is_used(path):
    used = {
        node.id
        for cell in load(path).cells
        if cell.cell_type == "code"
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert set(parameters(path)) <= used


ABSOLUTE = re.compile(
    r"(?<![\w.<:/])/(?:home|root|Users|tmp|var|mnt|opt|usr|work|data|private|srv)/|\b[A-Za-z]:\\\\"
    r"|~/"
)
HOST = re.compile(
    r"\w://|\bwww\.|\blocalhost\b|\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[\w-]+\.(?:com|org|net|edu|io|ai|dev)\b"
)


@every_notebook
def test_no_absolute_paths_and_no_hosts(path):
    text = path.read_text(encoding="utf-8")
    assert not ABSOLUTE.findall(text)
    assert not HOST.findall(text)


@pytest.mark.parametrize(
    "text", ["/home/ann/x", "in '/tmp/a'", "=/root/x", "C:\\\\Users\\\\ann", "~/Downloads"]
)
def test_absolute_paths_are_recognised(text):
    assert ABSOLUTE.search(text)


@pytest.mark.parametrize("text", ["https://x", "localhost", "10.0.0.7", "raw.github.com", "www.x"])
def test_hosts_are_recognised(text):
    assert HOST.search(text)


@pytest.mark.parametrize("text", ["../runs/embedded", "data/ledger", "and/or", "24 files/day"])
def test_relative_paths_are_no_absolute_ones(text):
    assert not ABSOLUTE.search(text)


@pytest.mark.parametrize("profile", ["embedded", "paper", "smoke"])
def test_a_whole_profile_names_every_notebook_in_order(profile):
    assert list(load_profile(profile).notebooks) == [p.stem for p in PATHS]


def test_the_profile_for_a_gpu_draws_from_all_prompts_and_leaves_the_model_to_the_notebook():
    found = load_profile("gpu").notebooks
    assert list(found) == ["00_provenance", "30_early_tokens_gpu"]
    chosen = read_notebook("30_early_tokens_gpu").check({"run_dir": "x", **found["30_early_tokens_gpu"]})
    assert (chosen["prompts"], chosen["device"], chosen["model"]) == ("full", "cuda", "")
    assert (chosen["limit"], chosen["rounds"]) == (25_000, 20)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_says_what_it_is_for(profile):
    text = (FOLDER / "profiles" / f"{profile}.yaml").read_text(encoding="utf-8")
    found = load_profile(profile)
    assert len(found.describes) > 20
    assert {"describes", "notebooks"} <= yaml.safe_load(text).keys()
    assert set(found.seconds) <= set(found.notebooks)
    for name, values in found.notebooks.items():
        read_notebook(name).check(values)
