"""The three lists of packages (pyproject.toml, requirements.lock, environment.yml) agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*==[0-9][0-9a-z.]*")
CONDA_TO_PYPI = {"pytorch": "torch"}
CONDA_ONLY = {"python", "pip", "make"}


def normal(name: str) -> str:
    """The spelling that package indexes compare names by."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement(text: str) -> tuple[str, str | None]:
    """Name of a requirement, and its version where that is given exactly."""
    name = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", text)
    assert name, f"no package name in {text!r}"
    exact = re.search(r"==\s*([^\s,;]+)", text)
    return normal(name.group()), exact.group(1) if exact else None


def direct(project: dict) -> dict[str, str | None]:
    """Every package the project asks for itself, in the base list or an extra."""
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return dict(requirement(text) for entries in lists for text in entries)


def lock_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def lock_faults(lines: list[str]) -> list[str]:
    """What keeps the lines from being a lock: loose pins, order, repeats, CUDA packages."""
    faults = [f"not an exact pin: {line}" for line in lines if not PIN.fullmatch(line)]
    names = [requirement(line)[0] for line in lines]
    faults += [f"twice: {name}" for name in sorted({n for n in names if names.count(n) > 1})]
    faults += [f"CUDA package: {name}" for name in names if name.startswith("nvidia")]
    if lines != sorted(lines):
        faults.append("not sorted")
    return faults


def conda_pins(environment: dict) -> dict[str, str | None]:
    """Version by PyPI name of what environment.yml lists (None where it pins none)."""
    pins: dict[str, str | None] = {}
    for entry in environment["dependencies"]:
        if isinstance(entry, str):
            name, _, version = entry.partition("=")
            if name not in CONDA_ONLY:
                pins[normal(CONDA_TO_PYPI.get(name, name))] = version or None
    return pins


def disagreements(wanted: dict[str, str | None], pinned: dict[str, str | None]) -> list[str]:
    """Packages of `wanted` that `pinned` lacks, pins loosely or pins to another version.

    A wanted version of None asks for any exact version.
    """
    faults = []
    for name, version in sorted(wanted.items()):
        if name not in pinned:
            faults.append(f"{name}: missing")
        elif pinned[name] is None:
            faults.append(f"{name}: no exact version")
        elif version is not None and pinned[name] != version:
            faults.append(f"{name}: {pinned[name]} instead of {version}")
    return faults


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return lock_lines((ROOT / "requirements.lock").read_text())


@pytest.fixture(scope="module")
def locked(lines: list[str]) -> dict[str, str | None]:
    return dict(requirement(line) for line in lines)


@pytest.fixture(scope="module")
def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_the_lists_are_not_empty(project, locked, environment):
    assert len(direct(project)) > 20
    assert len(locked) > len(direct(project))
    assert len(conda_pins(environment)) > 20


def test_lock_pins_every_direct_dependency(project, locked):
    assert disagreements(direct(project), locked) == []


def test_lock_is_exact_sorted_and_without_cuda(lines):
    assert lock_faults(lines) == []
    assert "torch==2.13.0" in lines


def test_conda_environment_has_the_locked_versions(project, locked, environment):
    wanted = {name: locked[name] for name in direct(project)}
    assert disagreements(wanted, conda_pins(environment)) == []


def test_conda_environment_lists_nothing_else(project, environment):
    assert set(conda_pins(environment)) == set(direct(project))


def test_conda_environment_installs_this_package(project, environment):
    assert environment["name"] == project["name"]
    assert environment["channels"] == ["conda-forge"]
    assert "python=3.11" in environment["dependencies"]
    pip = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert len(pip) == 1
    assert "-e ." in pip[0]


# The comparisons themselves, on lists that are wrong.


@pytest.mark.parametrize(
    ("pinned", "fault"),
    [
        ({}, "numpy: missing"),
        ({"numpy": None}, "numpy: no exact version"),
        ({"numpy": "2.0.1"}, "numpy: 2.0.1 instead of 2.0.0"),
    ],
)
def test_a_disagreement_is_named(pinned, fault):
    assert disagreements({"numpy": "2.0.0"}, pinned) == [fault]
    assert disagreements({"numpy": "2.0.0"}, {"numpy": "2.0.0"}) == []


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (["numpy>=2.0"], "not an exact pin: numpy>=2.0"),
        (["torch==2.13.0+cpu"], "not an exact pin: torch==2.13.0+cpu"),
        (["-e ."], None),
        (["b==1", "a==1"], "not sorted"),
        (["a==1", "a==2"], "twice: a"),
        (["nvidia-cublas==13.0"], "CUDA package: nvidia-cublas"),
    ],
)
def test_a_fault_of_the_lock_is_named(wrong, fault):
    if fault is None:
        with pytest.raises(AssertionError, match="no package name"):
            lock_faults(wrong)
    else:
        assert lock_faults(wrong) == [fault]


def test_conda_names_become_those_of_pypi():
    entries = ["python=3.11", "pytorch=2.13.0", "typing_extensions=4.0", "tqdm", {"pip": ["-e ."]}]
    expected = {"torch": "2.13.0", "typing-extensions": "4.0", "tqdm": None}
    assert conda_pins({"dependencies": entries}) == expected
