"""Floors and aims stand beside what was measured, and the best early monitor is named."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from trustllm_repro.report import online_measured

SETTINGS = {"settings": {"model": "m", "dtype": "float32"}, "machine": {"cpu": "a CPU"}}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "tables").mkdir()
    lines = [
        {"model": "m", "task": task, "monitor": name, "risk": risk, "figure": "early", "value": value,
         "ci_low": value - 0.1, "ci_high": value + 0.1}
        for task in ("harm", "toxicity")
        for name, risk, value in (("always", 0.05, 1.0), ("probe", 0.05, 0.4), ("guard", 0.05, 0.3),
                                  ("guard", 0.01, 0.9))
    ]  # fmt: skip
    pd.DataFrame(lines).to_csv(tmp_path / "tables" / "online_stopping.csv", index=False)
    cells = [{"model": "m", "task": t} for t in ("harm", "toxicity")]
    pd.DataFrame(cells).to_csv(tmp_path / "tables" / "online_benchmark.csv", index=False)
    return tmp_path


@pytest.fixture
def nothing_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(online_measured, "data_dir", lambda: tmp_path / "none")


def test_the_best_early_monitor_that_looks_is_named(run, nothing_measured) -> None:
    (line,) = online_measured.measured(run).to_dict("records")
    assert line["figure"].endswith("5 % false alarms: probe")
    assert line["here"] == "40 % (30 to 50)"


def test_nothing_measured_is_no_line(tmp_path, nothing_measured) -> None:
    assert online_measured.measured(tmp_path).empty


def test_the_rival_is_shown_as_it_comes_and_as_it_could_be(run, tmp_path, monkeypatch) -> None:
    ratios = {n: {"time": t, "peak_memory": 1.25} for n, t in (("P", 2.0), ("P lighter", 1.5))}
    folder = tmp_path / "data"
    (folder / "measurements").mkdir(parents=True)
    (folder / "measurements" / "polygraph.json").write_text(
        json.dumps({**SETTINGS, "ratios": ratios}), encoding="utf-8"
    )
    monkeypatch.setattr(online_measured, "data_dir", lambda: folder)
    shown = online_measured.measured(run).set_index("figure")["here"]
    assert shown["the same estimators in P lighter, time over ours"] == "1.50 times"
    assert shown["the same estimators in P, peak memory over ours"] == "1.25 times"


def test_the_committed_overhead_is_what_the_table_shows(tmp_path) -> None:
    shown = online_measured.measured(tmp_path)
    shown = shown[shown["figure"].str.startswith("all single-pass")]
    facts = online_measured.overhead()
    assert facts
    assert len(shown) == len(facts) * len(online_measured.FLOORS)
    for one in facts:
        for batch, percent in online_measured.added(one, "all single-pass").items():
            here = shown[
                shown["figure"].str.endswith(f", {batch} at a time")
                & shown["measured"].str.contains(one["settings"]["dtype"])
            ]["here"].tolist()
            assert here == ([f"{percent:.1f} %"] if batch in online_measured.FLOORS else [])


def test_the_time_of_the_notebooks_is_the_measured_one(tmp_path) -> None:
    shown = online_measured.measured(tmp_path).set_index("figure")
    line = shown.loc["embedded profile, all 2x notebooks"]
    facts = online_measured._facts("online_notebooks")
    assert line["here"] == f"{facts['wall_seconds'] / 60:.1f} min"
    assert max(facts["stage_seconds"].values()) < facts["wall_seconds"]
