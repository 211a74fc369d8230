"""Fixtures shared by all tests, and the rule that CI may not skip the shared data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# One thread a process, set before torch is loaded: tests run side by side, and OpenMP threads that
# wait for a busy core make everything many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.small import SmallWorld
from trustllm_repro.data.benchmark import Benchmark, load_benchmark
from trustllm_repro.data.recorded import Recorded, load_recorded

# Machines differ in speed; a slow example is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def _shared() -> Path | None:
    given = os.environ.get("TRUSTLLM_SHARED")
    return Path(given) if given else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `shared` are skipped without the data; where CI has it, they must run."""
    if _shared() is not None:
        return
    if os.environ.get("TRUSTLLM_REQUIRE_SHARED"):
        raise pytest.UsageError("TRUSTLLM_REQUIRE_SHARED is set, but TRUSTLLM_SHARED is not")
    skip = pytest.mark.skip(reason="needs the folder named by TRUSTLLM_SHARED (set in CI)")
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(skip)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    outcome = yield
    report = outcome.get_result()
    required = os.environ.get("TRUSTLLM_REQUIRE_SHARED") and item.get_closest_marker("shared")
    if report.skipped and required:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped although the shared data is required"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with data/trustllm-dataset.zip and data/trustllm-recorded.zip."""
    path = _shared()
    assert path is not None
    return path


@pytest.fixture(scope="session")
def benchmark(shared: Path) -> Benchmark:
    return load_benchmark(shared / "data" / "trustllm-dataset.zip")


@pytest.fixture(scope="session")
def recorded(shared: Path, benchmark: Benchmark) -> Recorded:
    return load_recorded(shared / "data" / "trustllm-recorded.zip", benchmark)


@pytest.fixture
def world(tmp_path: Path) -> SmallWorld:
    """A made-up benchmark and made-up answers in the real layout; see tests/small.py."""
    return SmallWorld(tmp_path / "world")


@pytest.fixture(autouse=True)
def _no_user_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests never see sources that happen to lie on this machine."""
    monkeypatch.setenv("TRUSTLLM_DATA", str(tmp_path / "no-data"))
