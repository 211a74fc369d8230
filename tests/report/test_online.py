"""20_pilot and 21_benchmark: what is shown is what was stored; nothing where nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trustllm_repro.errors import SourceMissing
from trustllm_repro.online.studies.pilot import SHARES, TOKENS, Beginnings
from trustllm_repro.report import online, online_benchmark
from trustllm_repro.report.book_online import Book
from trustllm_repro.scoring.results import load
from trustllm_repro.scoring.run import Run

FIGURES = (
    "AUROC",
    "AUPRC",
    *(f"{f}, {p}" for p in online_benchmark.POINTS for f in ("SG", "RH", "AC", "tokens", "share")),
)


def bench(monitor: str, access: str, values: dict[str, float], task: str = "harm") -> list[dict]:
    return [
        {
            "model": "m", "task": task, "monitor": monitor, "access": access, "figure": f,
            "value": values.get(f, np.nan), "ci_low": values.get(f, np.nan) - 0.1,
            "ci_high": values.get(f, np.nan) + 0.1, "n": 9, "n_without_score": 0,
            "reason": "" if f in values else "too few",
        }
        for f in FIGURES
    ]  # fmt: skip


def point(sg: float, ac: float, name: str = "balanced") -> dict[str, float]:
    return {f"SG, {name}": sg, f"AC, {name}": ac}


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder with tables of two tasks."""
    lines = []
    for task in ("harm", "toxicity"):
        lines += bench("good", "white box", {"AUROC": 0.9, "AUPRC": 0.8, **point(0.4, 0.1)}, task)
        lines += bench("poor", "grey box", {"AUROC": 0.6, "AUPRC": 0.5, **point(0.3, 0.2)}, task)
        lines += bench("odd", "hybrid", {}, task)
    folder = tmp_path / "tables"
    folder.mkdir()
    pd.DataFrame(lines).to_csv(folder / "online_benchmark.csv", index=False)
    table = np.random.default_rng(0).random((40, 25)) < 0.5
    whole = table[:, -1]
    curves = []
    for axis, cuts, part in (("share", SHARES, table[:, :20]), ("tokens", TOKENS, table[:, 20:])):
        for task in ("harm", "toxicity"):
            found = Beginnings("j", axis, cuts, part, whole).curves()
            curves += [{"model": "m", "task": task, **c} for c in found]
    cost = [
        {"model": "m", "task": t, "monitor": n, "microseconds_per_token": 2.0, "further_generations": 0}
        for t in ("harm", "toxicity") for n in ("good", "poor", "odd")
    ]  # fmt: skip
    pd.DataFrame(cost).to_csv(folder / "online_cost.csv", index=False)
    pd.DataFrame(curves).to_csv(folder / "online_pilot.csv", index=False)
    return tmp_path


def test_the_best_comes_first_and_the_empty_last(run) -> None:
    frame = online_benchmark.benchmark_table(run, "m", "harm", "balanced")
    assert frame["monitor"].tolist() == ["good", "poor", "odd"]
    assert frame["AUROC"].tolist() == ["0.90 (0.80, 1.00)", "0.60 (0.50, 0.70)", "–"]
    assert frame["SG"].tolist()[:2] == [0.4, 0.3]
    assert online.cells(run) == [("m", "harm"), ("m", "toxicity")]


def test_empty_cells_have_their_reasons_counted(run) -> None:
    frame = online_benchmark.reasons(run)
    assert set(frame["reason"]) == {"too few"}
    stored = pd.read_csv(run / "tables" / "online_benchmark.csv")
    assert frame["empty figures"].sum() == stored["value"].isna().sum()


@pytest.mark.parametrize(
    ("axis", "columns"), [("share", ["5%", "25%", "75%"]), ("tokens", ["8", "128"])]
)
def test_the_pilot_in_numbers(run, axis: str, columns: list[str]) -> None:
    frame = online.pilot_table(run, axis)
    assert len(frame) == 6
    assert set(columns) < set(frame.columns)
    stored = pd.read_csv(run / "tables" / "online_pilot.csv")
    one = stored[
        (stored["axis"] == axis) & (stored["task"] == "harm") & (stored["kind"] == "unsafe, stable")
    ]
    cut = 0.05 if axis == "share" else 8
    value = one.loc[one["cut"] == cut, "value"].item()
    cell = frame[(frame["task"] == "harm") & (frame["kind"] == "unsafe, stable")][columns[0]].item()
    assert cell.startswith(f"{value:.2f} (")


def test_figures_with_the_numbers_drawn(run, tmp_path) -> None:
    for draw, name in (
        (online.draw_pilot, "pilot"),
        (online_benchmark.draw_tradeoff, "tradeoff"),
        (online_benchmark.draw_monitors, "monitors"),
    ):
        path = draw(run, tmp_path / "figures")
        assert path == tmp_path / "figures" / f"{name}.png"
        assert path.stat().st_size > 1000
        assert len(pd.read_csv(path.with_suffix(".csv")))
    drawn = pd.read_csv(tmp_path / "figures" / "tradeoff.csv")
    assert drawn.groupby("monitor")["front"].all().to_dict() == {"good": True, "poor": False}


def test_the_front_keeps_equals_and_drops_what_is_beaten() -> None:
    lines = [("a", 0.5, 0.2), ("b", 0.5, 0.2), ("c", 0.5, 0.3), ("d", 0.6, 0.3), ("e", 0.0, 0.0)]
    names = [f"{f}, {p}" for p in online_benchmark.POINTS for f in ("SG", "AC")]
    rows = [dict.fromkeys(names, np.nan) | point(gain, cost) for _, gain, cost in lines]
    index = pd.MultiIndex.from_tuples([(n, "grey box") for n, _, _ in lines])
    wide = pd.DataFrame(rows, index=index)
    points = online_benchmark._points(wide).set_index("monitor")["front"]
    assert points.to_dict() == {"a": True, "b": True, "c": False, "d": True, "e": True}


def test_nothing_stored_nothing_shown(tmp_path) -> None:
    assert online_benchmark.benchmark_table(tmp_path, "m", "harm").empty
    assert online.pilot_table(tmp_path, "share").empty
    assert online.prompt_only(tmp_path).empty
    assert online_benchmark.reasons(tmp_path).empty
    assert online_benchmark.best(tmp_path).empty
    assert online.cells(tmp_path) == []
    assert online.draw_pilot(tmp_path, tmp_path) is None
    assert online_benchmark.draw_tradeoff(tmp_path, tmp_path) is None
    assert online_benchmark.draw_monitors(tmp_path, tmp_path) is None


def test_the_best_and_those_not_told_from_it(run) -> None:
    pairs = [
        {
            "model": "m",
            "task": t,
            "monitor": "good",
            "other": "poor",
            "difference": 0.3,
            "p": q,
            "q": q,
        }
        for t, q in (("harm", 0.01), ("toxicity", 0.2))
    ]
    pd.DataFrame(pairs).to_csv(run / "tables" / "online_pairs.csv", index=False)
    found = online_benchmark.best(run).set_index("task")
    assert found["best_monitor"].tolist() == ["good", "good"]
    assert found["not_told_from_it"].to_dict() == {"harm": 0, "toxicity": 1}


def test_the_prompt_alone_beside_the_best_of_the_answer(run) -> None:
    (line, _) = online.prompt_only(run).to_dict("records")
    assert line["prompt only"] == "–"
    assert (line["best of the answer"], line["which"]) == ("0.90 (0.80, 1.00)", "good")


PARAMETERS = {
    "models": ["m"],
    "sheets": "",
    "tasks": [],
    "limit": 1,
    "dtype": "float32",
    "device": "cpu",
    "costly": False,
    "run_code": False,
}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SourceMissing("no index", remedy="reach one"), "no index"),
        (ModuleNotFoundError("No module", name="torch"), "torch is not installed"),
    ],
)
def test_what_is_missing_stops_no_notebook(tmp_path, monkeypatch, error, says: str) -> None:
    pytest.importorskip("torch")

    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr("trustllm_repro.online.studies.run.monitor", fails)
    page = online.watch(tmp_path, **online.asked(PARAMETERS))
    assert says in page
    assert ("no online study" in page) == (says != "no index")
    assert ("m was not watched" in page) == (says == "no index")


def test_what_pages_show_is_kept_for_publications(run) -> None:
    pages = Book("page", Run(run), {})
    pages.monitors()
    pages.pilot("share")
    pages.online_claims()
    tables = run / "tables"
    for name in ("monitors_m_harm", "monitors_m_toxicity", "pilot_share", "online_claims"):
        assert (tables / f"{name}.tex").read_text(encoding="utf-8").startswith("\\begin{tabular}")
        assert len(pd.read_csv(tables / f"{name}.csv"))
    kept = load(run)
    assert {f"online.C{i}.verdict" for i in range(1, 7)} <= set(kept)
    shown = pd.read_csv(tables / "online_claims.csv").set_index("id")["verdict"]
    assert kept["online.C3.verdict"]["text"] == shown["C3"]


def test_reasons_that_differ_in_numbers_only_are_one() -> None:
    found = online.summed_up(
        ["2 of 9 are there", "nothing", "12 of 9 are there", "2 of 9 are there"]
    )
    assert found == {
        "2 to 12 of 9 are there": ["2 of 9 are there", "12 of 9 are there", "2 of 9 are there"],
        "nothing": ["nothing"],
    }


def test_the_larger_study_says_what_stopping_saves_at_one_percent(tmp_path) -> None:
    pages = Book("page", Run(tmp_path), {})
    page = pages.committed_stopping(0.01).data
    kept = pd.read_csv(tmp_path / "tables" / "larger_study_stopping_1_percent.csv")
    assert {"harm", "misuse"} <= set(kept["task"])
    assert all(name in page for name in kept["monitor"])


def test_the_larger_study_shows_methods_that_need_further_answers(tmp_path) -> None:
    pages = Book("page", Run(tmp_path), {})
    assert "self-examination" in pages.committed_monitors().data
    name = "larger_study_monitors_smollm2-135m_truthfulness.csv"
    kept = pd.read_csv(tmp_path / "tables" / name).set_index("monitor")
    assert kept["further generations"].max() > 0
    assert kept.loc["self-examination", "AUROC"] != "–"
