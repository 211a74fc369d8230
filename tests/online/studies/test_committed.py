"""The committed study: the tables of a run, smaller, and no words of raters."""

from __future__ import annotations

import pandas as pd
import pytest

pytest.importorskip("torch")

from trustllm_repro.errors import SourceMissing
from trustllm_repro.online.studies import committed
from trustllm_repro.online.studies.tables import TABLES, Tables
from trustllm_repro.report import online
from trustllm_repro.store.atomic import write_json


@pytest.fixture
def run(tmp_path):
    made = Tables()
    for i, name in enumerate(TABLES):
        made.rows[name] = [
            {"model": "m", "task": t, "value": i / 3, "reason": "", "labels": True} for t in "ab"
        ]
    made.write(tmp_path / "run" / "tables")
    write_json(tmp_path / "run" / "online" / "m" / "provenance.json", {"cpu": "some CPU"})
    return tmp_path / "run"


def test_what_is_committed_is_what_the_run_holds(run, tmp_path) -> None:
    paths = committed.commit(run, tmp_path / "kept")
    assert len(paths) == len(TABLES)  # without the raters' table, with the provenance
    assert online.stored(tmp_path / "kept", "audit").empty
    for name in set(TABLES) - {"audit"}:
        mine, theirs = online.stored(tmp_path / "kept", name), online.stored(run, name)
        pd.testing.assert_frame_equal(mine, theirs)
    assert '"some CPU"' in paths[-1].read_text()


def test_a_folder_without_tables_is_refused(tmp_path, capsys) -> None:
    with pytest.raises(SourceMissing, match="no tables"):
        committed.commit(tmp_path, tmp_path / "kept")
    assert committed.main([str(tmp_path)]) == 1
    assert "trustllm-repro monitor" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()
