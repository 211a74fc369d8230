"""Fixtures of the fault tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A made-up benchmark and made-up answers that a test may damage."""
    return World(tmp_path / "world")


@pytest.fixture(scope="session")
def _first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("first")
    run, _ = World(root / "world").replay(root / "run")
    return run.path


@pytest.fixture
def earlier(_first_run: Path, tmp_path: Path) -> Path:
    """A run folder with the results of an earlier, undamaged run."""
    return Path(shutil.copytree(_first_run, tmp_path / "run"))
