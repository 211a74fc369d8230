"""The package is layered: imports run down, never up, never in circles."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from trustllm_repro.paths import project_root

ROOT = project_root()
LAYERS = (
    "schema", "errors", "escape", "paths", "progress", "store", "metrics", "models", "parsers", "judges",
    "tasks", "data", "scoring", "evaluation", "online", "analysis", "plot", "export", "display",
    "run_notebooks", "cli",
)  # fmt: skip


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "trustllm_repro").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(module: str) -> set[str]:
    """Modules of the package that a module names, wherever in its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trustllm_repro"):
            names = [f"{node.module}.{a.name}" for a in node.names]
            found |= {n if n in modules() else str(node.module) for n in names}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name in modules()}
    return found - {"trustllm_repro", module}


def layer(module: str) -> int:
    return LAYERS.index(module.split(".")[1])


@pytest.mark.parametrize("module", [m for m in modules() if "." in m])
def test_no_import_runs_up(module: str) -> None:
    assert {m for m in imports(module) if layer(m) > layer(module)} == set()


def test_there_is_no_circle() -> None:
    graph = {m: imports(m) for m in modules() if "." in m}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)


def test_nothing_outside_is_imported_by_the_package() -> None:
    for module, path in modules().items():
        text = path.read_text(encoding="utf-8")
        for folder in ("benchmarks", "tools", "tests"):
            assert f"from {folder}" not in text, module
            assert f"import {folder}" not in text, module
