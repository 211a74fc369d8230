"""The committed figures are those of the committed ledger."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.notebooks.cells import run_cells
from tools.gallery import CHOSEN, KINDS, copy_chosen
from trustllm_repro.errors import SourceMissing
from trustllm_repro.paths import project_root


@pytest.mark.slow
def test_committed_figures_show_the_numbers_of_a_fresh_run(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    run_cells("00_provenance", run_dir=folder, source="ledger")
    for name in ("14_privacy", "16_overview", "17_audit"):
        run_cells(name, run_dir=folder)
    copied = copy_chosen(tmp_path / "run", tmp_path / "figures")
    assert len(copied) == len(CHOSEN) * len(KINDS)
    for name in CHOSEN:
        fresh = pd.read_csv(tmp_path / "figures" / f"{name}.csv")
        committed = pd.read_csv(project_root() / "figures" / f"{name}.csv")
        pd.testing.assert_frame_equal(fresh, committed)


def test_a_run_without_figures_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="verification"):
        copy_chosen(tmp_path, tmp_path / "figures")
