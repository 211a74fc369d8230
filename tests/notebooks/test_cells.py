"""Notebooks are there to be changed: one line other, and the frames follow."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tests.notebooks.cells import run_cells


def test_safety_by_source_instead_of_attack(tmp_path: Path) -> None:
    other = {'groupby(["attack", "model"])': 'groupby(["source", "model"])'}
    space = run_cells("11_safety", other, run_dir=str(tmp_path))
    assert set(space["grid"].index) == {"ITC", "QBB"}
    assert space["grid"].notna().all(axis=None)
    assert (tmp_path / "figures" / "safety_attacks.csv").exists()


def test_safety_with_a_metric_of_ones_own(tmp_path: Path) -> None:
    mine = {"REFUSED, by=": "lambda part: float(len(part)), by="}
    space = run_cells("11_safety", mine, run_dir=str(tmp_path))
    sizes = space["misuse"].groupby(["model", "source"]).size().unstack()
    assert (space["per_source"].iloc[:, :3] == sizes).all(axis=None)


def test_provenance_under_the_toolkit_s_rule(tmp_path: Path) -> None:
    space = run_cells(
        "00_provenance",
        {'moved["corrected"]': 'moved["toolkit"]'},
        run_dir=str(tmp_path),
        source="ledger",
    )
    assert isinstance(space["by_table"], pd.DataFrame)
    assert space["by_table"]["largest"].max() == space["bands"].loc["toolkit", "largest"]
    assert (tmp_path / "verify.csv").exists()
