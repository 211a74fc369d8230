"""What a stage depends on: the files its notebook reads, and the code its cells import."""

from __future__ import annotations

import ast
import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from trustllm_repro import EXPORTS
from trustllm_repro.data.registry import find_benchmark, find_records
from trustllm_repro.errors import SettingsError
from trustllm_repro.paths import notebooks_dir, project_root
from trustllm_repro.store.archive import sha256

PACKAGE = "trustllm_repro"
LARGE = 20_000_000  # bytes; larger files and folders are compared by size and time


def files_read(patterns: Iterable[str], parameters: Mapping[str, Any]) -> dict[str, str]:
    """Files that `reads` of a notebook name, each with the hash of what it holds.

    Args:
        patterns: globs; a folder means all files in it. They start at the checkout, those
            that begin with a parameter at notebooks/, where kernels run. `{name}` is the value of
            a parameter, or each value of a list. Where that is empty it is "*"; a pattern that
            begins with it names no file then, nor does one that ends with " if name".
            `{benchmark}` and `{records}` are those that the package finds; with the source
            "ledger" no records are read.
    """
    records = list(find_records(parameters.get("records", "")))
    values = {
        **parameters,
        "benchmark": find_benchmark(parameters.get("benchmark", "")),
        "records": [] if parameters.get("source") == "ledger" else records,
    }
    found = {}
    for line in patterns:
        pattern, _, condition = line.partition(" if ")
        if condition and not values[condition]:
            continue
        start = notebooks_dir() if pattern.startswith("{") else project_root()
        for one in _filled(pattern, values):
            for path in glob.glob(os.path.join(glob.escape(str(start)), one)):
                found |= _contents(Path(path))
    return found


def _filled(pattern: str, values: Mapping[str, Any]) -> Iterator[str]:
    """A pattern with each combination of the values it names."""
    names = re.findall(r"{(\w+)}", pattern)
    if unknown := set(names) - set(values):
        raise SettingsError(
            f"a notebook reads {pattern!r}, and {unknown.pop()!r} is no parameter of it",
            remedy="see metadata.trustllm of the notebook",
        )
    choices = []
    for name in names:
        given = values[name] if isinstance(values[name], list) else [values[name]]
        texts = [glob.escape(os.path.expanduser(str(v))) for v in given if v not in ("", None)]
        leads = pattern.startswith(f"{{{name}}}")
        choices.append(texts or ([] if leads else ["*"]))
    for chosen in itertools.product(*choices):
        yield pattern.format(**dict(zip(names, chosen, strict=True)))


def _contents(path: Path) -> dict[str, str]:
    inside = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = {p: p.stat() for p in inside if p.is_file()}
    if sum(s.st_size for s in stats.values()) > LARGE:
        return {str(p): f"{s.st_size} {s.st_mtime_ns}" for p, s in stats.items()}
    return {str(p): _hashed(p, s.st_size, s.st_mtime_ns) for p, s in stats.items()}


@cache
def _hashed(path: Path, size: int, changed: int) -> str:
    return sha256(path.read_bytes())


def code_used(sources: Iterable[str]) -> dict[str, str]:
    """Modules of the package that code imports, directly or not, each with the hash of its code.

    Comments and docstrings do not count, nor imports for the type checker; data files beside the
    modules do. Of the package's own `__init__` only the names asked for are followed, as they are
    loaded when they are used.
    """
    todo = _imports("\n".join(map(_normal, sources)))
    found: dict[str, str] = {}
    while todo:
        name = todo.pop()
        package, _, last = name.rpartition(".")
        path, more = _path_of(name), {package} if package else set()
        if path is None and package == PACKAGE and last in EXPORTS:
            more.add(f"{PACKAGE}.{EXPORTS[last]}")
        if path is not None:
            found[name], imported = _module(name, path, path.stat().st_mtime_ns)
            more |= imported
            if path.name == "__init__.py":
                beside = [p for p in path.parent.glob("*.*") if p.suffix != ".py"]
                found |= {f"{name}/{p.name}": sha256(p.read_bytes()) for p in sorted(beside)}
        todo |= more - found.keys()
    return found


def _path_of(module: str) -> Path | None:
    base = project_root().joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.exists()), None)


def _normal(source: str) -> str:
    """Code as it counts: without docstrings, comments and blocks for the type checker."""
    code = "\n".join(x for x in source.splitlines() if not x.lstrip().startswith(("%", "!")))
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return source  # running it will say what is wrong
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    return ast.unparse(tree)


def _imports(code: str) -> set[str]:
    """Dotted names of the package that normal code imports; those of functions are among them."""
    found = set()
    for module, names in re.findall(rf"from ({PACKAGE}[\w.]*) import (.+)", code):
        found |= {module, *(f"{module}.{n}" for n in re.findall(r"(\w+)(?: as \w+)?", names))}
    for module, alias in re.findall(rf"import ({PACKAGE}[\w.]*)(?: as (\w+))?", code):
        used = re.findall(rf"\b{alias}\.(\w+)", code) if alias and module == PACKAGE else []
        found |= {module, *(f"{PACKAGE}.{name}" for name in used)}
    return found


@cache
def _module(name: str, path: Path, changed: int) -> tuple[str, set[str]]:
    """Hash of a module's code, and what it imports."""
    code = _normal(path.read_text(encoding="utf-8"))
    found = _imports(code)
    if "import pkgutil" in code:  # it loads its neighbours by name
        found |= {f"{name.rpartition('.')[0]}.{p.stem}" for p in path.parent.glob("*.py")}
    return sha256(code.encode()), found
