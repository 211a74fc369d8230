"""Tables on disk: a run replaces its own lines and no others."""

from __future__ import annotations

import pandas as pd
import pytest

pytest.importorskip("torch")

from trustllm_repro.errors import SourceCorrupt
from trustllm_repro.online.studies.tables import TABLES, Tables


def tables(model: str, task: str, value: float) -> Tables:
    made = Tables()
    for name in TABLES:
        made.rows[name] = [{"model": model, "task": task, "value": v} for v in (value, 9.0)]
    return made


def test_lines_of_other_models_and_tasks_stay(tmp_path) -> None:
    for model, task, value in (("a", "x", 1), ("b", "x", 2), ("a", "y", 3), ("a", "x", 4)):
        paths = tables(model, task, value).write(tmp_path)
    assert {p.name for p in paths} == {f"online_{n}.csv" for n in TABLES}
    found = pd.read_csv(paths[0])
    lines = list(found.itertuples(index=False, name=None))
    assert lines[::2] == [("a", "x", 4), ("b", "x", 2), ("a", "y", 3)]
    assert lines[1::2] == [(*line[:2], 9) for line in lines[::2]]


def test_the_same_again_is_the_same_file(tmp_path) -> None:
    tables("a", "x", 1).write(tmp_path)
    paths = tables("b", "x", 2.5).write(tmp_path)
    before = [p.read_bytes() for p in paths]
    tables("a", "x", 1).write(tmp_path)
    tables("b", "x", 2.5).write(tmp_path)
    assert [p.read_bytes() for p in paths] == before


@pytest.mark.parametrize("text", ["", "one,two\n1,2\n"])
def test_another_file_in_the_place_is_not_overwritten(tmp_path, text: str) -> None:
    path = tmp_path / "online_labels.csv"
    path.write_text(text)
    with pytest.raises(SourceCorrupt, match=r"online_labels\.csv"):
        tables("a", "x", 1).write(tmp_path)
    assert path.read_text() == text
