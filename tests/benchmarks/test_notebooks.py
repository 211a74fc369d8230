"""The measurement of a whole run: what is waited for, what is counted."""

from __future__ import annotations

import pytest

from benchmarks import notebooks
from tests.notebooks.project import FIRST, SECOND, Project


def test_medians_of_each_kind_and_of_each_notebook() -> None:
    runs = [{"wall": wall, "cpu": 2 * wall, "stages": {"a": wall - 1}} for wall in (9.0, 4.04, 5.0)]
    assert notebooks._medians(runs) == {"wall": 5.0, "cpu": 10.0, "stages": {"a": 4.0}}


@pytest.mark.slow
def test_the_time_of_forked_kernels_counts(tmp_path) -> None:
    project = Project(tmp_path / "project").with_package().tiny(FIRST, SECOND)
    work = "import time\nend = time.process_time() + 5\nwhile time.process_time() < end: pass"
    project.put(SECOND, work)
    found = notebooks.timed(project.root, "tiny")
    assert set(found["stages"]) == {FIRST, SECOND}
    assert found["cpu"] > 5
    assert 0 < found["first_numbers"] < found["wall"]
