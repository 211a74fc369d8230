"""Scored cells are facts that follow from the ledger."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trustllm_repro.data.published import published
from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.evaluation.judging import JudgeChoice
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import RULES, Rule
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.results import (
    CELLS,
    committed_ledger,
    read_cells,
    score_cells,
    write_cells,
)

LIVE = sorted(p.parent for p in (data_dir() / "live").glob("*/ledger.parquet"))


def same(stored: pd.DataFrame, scored: pd.DataFrame) -> None:
    keys = ["table", "model", "column", "rule"]
    a, b = (f.set_index(keys).sort_index() for f in (stored, scored))
    assert a.index.equals(b.index)
    for name in a.columns:
        if a[name].dtype.kind in "fiu":
            np.testing.assert_allclose(
                a[name].astype(float), b[name].astype(float), rtol=1e-6, atol=1e-9, err_msg=name
            )
        else:
            assert a[name].fillna("").tolist() == b[name].fillna("").tolist(), name


@pytest.mark.slow
def test_the_committed_cells_are_what_the_committed_ledger_gives() -> None:
    scored = score_cells(Ledger.load(committed_ledger()), published(), RULES)
    same(read_cells(committed_ledger()), scored)


@pytest.mark.parametrize("folder", LIVE, ids=lambda p: p.name)
def test_so_are_those_of_evaluated_models(folder: Path) -> None:
    ledger = Ledger.load(folder)
    scored = score_cells(ledger, published(), (Rule.CORRECTED,), JudgeChoice(()).measured)
    same(read_cells(folder), scored[scored["model"].isin(ledger.models)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("items.parquet", "ledger.parquet"):
        shutil.copy(LIVE[0] / name, tmp_path / name)
    return tmp_path


def test_cells_of_another_ledger_are_refused(folder: Path) -> None:
    write_cells(read_cells(LIVE[0]), folder)
    assert len(read_cells(folder)) == len(read_cells(LIVE[0]))
    with open(folder / "ledger.parquet", "ab") as f:
        f.write(b"x")
    with pytest.raises(SourceCorrupt, match="another ledger"):
        read_cells(folder)


def test_absent_and_damaged_cells_are_named(folder: Path) -> None:
    with pytest.raises(SourceMissing, match=CELLS):
        read_cells(folder)
    (folder / CELLS).write_bytes(b"PAR1 no")
    with pytest.raises(SourceCorrupt, match="cannot be read"):
        read_cells(folder)
