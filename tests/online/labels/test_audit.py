"""Sheets for raters: what goes out comes back, and nothing is guessed."""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.online.made import words
from tests.online.made_studies import made_study
from trustllm_repro.errors import SchemaError, SourceMissing
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.tasks import TASKS
from trustllm_repro.online.labels.audit import (
    COLUMNS,
    audit,
    compare_raters,
    read_sheet,
    write_sheet,
)
from trustllm_repro.online.labels.judges import JUDGES, OutputJudge
from trustllm_repro.online.monitors.base import Generation

CASES = [Case(i, str(i), f"prompt, {i}") for i in range(30)]
TRACES = [words("=one two three four five six") if i else words("") for i in range(30)]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def filled(path: Path, label) -> Path:
    text = path.read_text(encoding="utf-8-sig")
    lines = list(csv.reader(io.StringIO(text, newline="")))
    out = io.StringIO(newline="")
    csv.writer(out).writerows([lines[0], *([*x[:-1], label(x)] for x in lines[1:])])
    path.write_text(out.getvalue())
    return path


def test_the_sheet_is_blank_and_drawn_by_seed(tmp_path) -> None:
    one = write_sheet(tmp_path / "a.csv", CASES, TRACES)
    found = rows(one)
    assert len(found) == 60
    assert tuple(found[0]) == COLUMNS
    assert {r["unsafe"] for r in found} == {""}
    assert {r["tokens"] for r in found} == {"2", "3", "6"}
    assert "0" not in {r["case"] for r in found}  # the answer without a token
    assert one.read_bytes() == write_sheet(tmp_path / "b.csv", CASES, TRACES).read_bytes()
    assert one.read_bytes() != write_sheet(tmp_path / "c.csv", CASES, TRACES, seed=1).read_bytes()


def test_no_cell_is_a_formula(tmp_path) -> None:
    found = rows(write_sheet(tmp_path / "a.csv", CASES, TRACES))
    assert all(r["beginning"].startswith("'=") for r in found)


def test_labels_come_back(tmp_path) -> None:
    path = write_sheet(tmp_path / "a.csv", CASES, TRACES)
    labels = read_sheet(filled(path, lambda x: str(int(x[1]) % 2)))
    assert len(labels) == 60
    assert all(unsafe == (case % 2 == 1) for (case, _), unsafe in labels.items())


@pytest.mark.parametrize("label", ["", "x", "2"])
def test_a_row_without_a_label_is_named(tmp_path, label: str) -> None:
    path = filled(write_sheet(tmp_path / "a.csv", CASES, TRACES), lambda x: label)
    with pytest.raises(SchemaError, match=r"a\.csv"):
        read_sheet(path)


def test_other_files_are_refused(tmp_path) -> None:
    with pytest.raises(SourceMissing):
        read_sheet(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SchemaError):
        read_sheet(tmp_path / "other.csv")


def test_raters_are_compared_on_what_both_labelled() -> None:
    one = {(i, 1): i < 5 for i in range(10)}
    two = {(i, 1): i < 4 for i in range(8)}
    (line,) = compare_raters({"one": one, "two": two})
    assert (line["n"], line["agreement"]) == (8, 7 / 8)
    assert line["kappa"] == pytest.approx(0.75, abs=1e-3)
    assert compare_raters({"one": one, "far": {(99, 1): True}})[0]["agreement"] is None


def test_sheets_are_written_once_and_filled_copies_compared(tmp_path, monkeypatch) -> None:
    cases = [replace(c, answer="x", unsafe=True) for c in CASES]
    seen = [Generation(t, str(i)) for i, t in enumerate(TRACES)]
    bad = OutputJudge("odd", "", lambda cases, texts: np.array([c.number % 2.0 for c in cases]))
    monkeypatch.setitem(JUDGES, "odd", bad)
    task = replace(TASKS["harm"], prefix_judge="odd")
    study = made_study(30, task=task, cases=cases, seen=seen, sheets=tmp_path)
    assert audit(study) == []
    blank = tmp_path / "m-harm.csv"
    before = blank.read_bytes()
    for rater, label in (("anna", lambda x: str(int(x[1]) % 2)), ("ben", lambda x: "0")):
        shutil.copy(blank, tmp_path / f"m-harm.{rater}.csv")
        filled(tmp_path / f"m-harm.{rater}.csv", label)
    found = {(x["first"], x["second"]): x for x in audit(study)}
    assert set(found) == {("anna", "ben"), ("anna", "judge: odd"), ("ben", "judge: odd")}
    assert found["anna", "judge: odd"]["kappa"] == 1
    assert found["anna", "ben"]["agreement"] == found["ben", "judge: odd"]["agreement"] < 1
    assert blank.read_bytes() == before
    assert audit(replace(study, sheets=None)) == []
