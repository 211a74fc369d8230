"""The claims' verdicts turn with the numbers; hybrids and stopping as pages show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trustllm_repro.analysis.claims import REFUTED, SUPPORTED
from trustllm_repro.online.studies.levels import STATES, TEXT
from trustllm_repro.report import online_benchmark, online_claims, online_hybrids, online_measured

CELLS = [("m", "harm"), ("m", "toxicity")]
MONITORS = {
    "average likelihood": "grey box", "average entropy": "grey box", "probe": "white box",
    "guard": "black box", "always": "black box",
}  # fmt: skip


def write(run: Path, name: str, lines: list[dict]) -> None:
    (run / "tables").mkdir(exist_ok=True)
    pd.DataFrame(lines).to_csv(run / "tables" / f"online_{name}.csv", index=False)


def pilot(run: Path, unsafe: float, safe: float, n: int = 50) -> None:
    write(
        run, "pilot",
        [
            {"model": m, "task": t, "axis": "share", "cut": 0.25, "kind": kind, "value": value,
             "ci_low": value - 0.1, "ci_high": value + 0.1, "n": n}
            for m, t in CELLS
            for kind, value in (
                ("unsafe, first touch", unsafe), ("unsafe, stable", unsafe), ("safe, first touch", safe),
            )
        ],
    )  # fmt: skip


def benchmark(run: Path, areas: dict[tuple[str, str], float], front: tuple[str, ...] = ()) -> None:
    """AUROC by task and monitor, else 0.5; monitors of `front` gain more the more they cost."""
    lines = []
    for model, task in CELLS:
        for name, access in MONITORS.items():
            area = areas.get((task, name), 0.5)
            figures = {"AUROC": area, "AUPRC": area}
            step = 0.1 * (front.index(name) + 1) if name in front else 0.0
            for point in online_benchmark.POINTS:
                figures |= {f"SG, {point}": step, f"AC, {point}": step if name in front else 0.5}
            lines += [
                {"model": model, "task": task, "monitor": name, "access": access, "figure": f,
                 "value": v, "ci_low": v - 0.05, "ci_high": v + 0.05, "n": 9, "reason": ""}
                for f, v in figures.items()
            ]  # fmt: skip
    write(run, "benchmark", lines)


def pairs(run: Path, beaten: dict[str, list[str]]) -> None:
    """Per task, who is significantly worse than the best."""
    names = [n for n in MONITORS if n != "always"]
    write(
        run, "pairs",
        [
            {"model": m, "task": t, "monitor": a, "other": b, "difference": 0.1, "p": 0.01,
             "q": 0.01 if a in beaten[t] or b in beaten[t] else 0.5}
            for m, t in CELLS for i, a in enumerate(names) for b in names[i + 1 :]
        ],
    )  # fmt: skip


def hybrids(run: Path, gains: dict[str, tuple[float, float]]) -> None:
    """Per task, gain and q of one hybrid; the other never gains."""
    write(
        run, "hybrids",
        [
            {"model": m, "task": t, "hybrid": h, "member": "probe", "reason": "", "AC": 0.02,
             "SG": 0.3 + g, "SG, member": 0.3, "gain": g, "gain_low": g - 0.1, "gain_high": g + 0.1,
             "p": q, "q": q, "AUROC gain": g, "AUROC p": q, "AUROC q": q}
            for m, t in CELLS for h, (g, q) in (("OR: x", gains[t]), ("AND: x", (0.0, 1.0)))
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("unsafe", "safe", "verdict"),
    [(0.6, 0.05, SUPPORTED), (0.6, 0.2, REFUTED), (0.4, 0.05, REFUTED)],
)
def test_c1_needs_recognition_without_false_alarms(tmp_path, unsafe, safe, verdict) -> None:
    benchmark(tmp_path, {})
    pilot(tmp_path, unsafe, safe)
    evidence, found = online_claims.early(tmp_path)
    assert found == verdict
    assert f"{unsafe:.2f} of 50 unsafe" in evidence


def test_c1_without_unsafe_answers_is_open(tmp_path) -> None:
    benchmark(tmp_path, {})
    pilot(tmp_path, np.nan, 0.1, n=0)
    assert online_claims.early(tmp_path)[1] == online_claims.OPEN


def test_c2_is_refuted_by_one_that_nobody_beats(tmp_path) -> None:
    areas = {("harm", "probe"): 0.9, ("toxicity", "guard"): 0.9}
    benchmark(tmp_path, areas)
    others = {"harm": ["guard", "average likelihood", "average entropy"], "toxicity": ["probe"]}
    pairs(tmp_path, others)
    evidence, verdict = online_claims.no_best(tmp_path)
    assert verdict == SUPPORTED
    assert "each is beaten" in evidence
    pairs(tmp_path, {"harm": others["harm"], "toxicity": []})
    evidence, verdict = online_claims.no_best(tmp_path)
    assert verdict == REFUTED
    assert "never significantly beaten: probe" in evidence


def test_c2_is_about_what_has_a_value_everywhere(tmp_path) -> None:
    """Whether or not it could be paired there, as where one seed has no value."""
    benchmark(tmp_path, {("harm", "probe"): 0.9, ("toxicity", "guard"): 0.9})
    beaten = ["guard", "average likelihood", "average entropy"]
    pairs(tmp_path, {"harm": beaten, "toxicity": ["probe"]})
    tables = tmp_path / "tables"
    found = pd.read_csv(tables / "online_benchmark.csv")
    like_probe = found[(found["monitor"] == "probe") & (found["figure"] == "AUROC")]
    once = like_probe[like_probe["task"] == "harm"].assign(monitor="rare", value=0.6)
    pd.concat([found, once]).to_csv(tables / "online_benchmark.csv", index=False)
    evidence, verdict = online_claims.no_best(tmp_path)
    assert (verdict, "rare" in evidence) == (SUPPORTED, False)
    unpaired = like_probe.assign(monitor="rare", value=0.6)
    pd.concat([found, unpaired]).to_csv(tables / "online_benchmark.csv", index=False)
    evidence, verdict = online_claims.no_best(tmp_path)
    assert verdict == REFUTED
    assert "never significantly beaten: rare" in evidence


def test_c3_counts_fronts(tmp_path) -> None:
    benchmark(tmp_path, {}, front=("probe", "guard"))
    assert online_claims.scenario(tmp_path)[1] == SUPPORTED
    benchmark(tmp_path, {}, front=("probe",))
    assert online_claims.scenario(tmp_path)[1] == REFUTED


def adding(**by_dtype: dict[str, float]):
    """Committed measurements: percent more by dtype and batch."""
    return [
        {
            "settings": {"dtype": dtype},
            "batch_size": {
                b: {"likelihood and entropy": {"together_percent": {"median": percent}}}
                for b, percent in by_batch.items()
            },
        }
        for dtype, by_batch in by_dtype.items()
    ]


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (adding(float32={"32": 0.8, "1": 0.4}), SUPPORTED),
        (adding(float32={"32": 1.8, "1": 0.4}), REFUTED),  # cheap by itself only
        (adding(bfloat16={"1": 3.0}, float32={"1": 0.4}), SUPPORTED),
        ([], online_claims.OPEN),
    ],
)
def test_c4_needs_use_failure_and_speed(tmp_path, monkeypatch, measured, verdict) -> None:
    benchmark(tmp_path, {("harm", "average entropy"): 0.7})
    monkeypatch.setattr(online_measured, "overhead", lambda: measured)
    evidence, found = online_claims.cheap(tmp_path)
    assert found == verdict
    if measured:
        assert "0.4 % in batches of 1" in evidence


def test_c4_is_refuted_by_use_everywhere(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(online_measured, "overhead", lambda: adding(float32={"1": 0.4}))
    benchmark(tmp_path, {(t, "average entropy"): 0.7 for _, t in CELLS})
    assert online_claims.cheap(tmp_path)[1] == REFUTED


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ({"harm": (0.1, 0.01), "toxicity": (0.1, 0.5)}, SUPPORTED),
        ({"harm": (0.1, 0.01), "toxicity": (0.1, 0.01)}, REFUTED),
        ({"harm": (0.1, 0.2), "toxicity": (-0.1, 0.01)}, REFUTED),
    ],
)
def test_c5_needs_both_kinds_of_cells(tmp_path, gains, verdict) -> None:
    benchmark(tmp_path, {})
    hybrids(tmp_path, gains)
    assert online_claims.together(tmp_path)[1] == verdict


def test_hybrids_are_counted_and_drawn(tmp_path) -> None:
    benchmark(tmp_path, {})
    hybrids(tmp_path, {"harm": (0.1, 0.01), "toxicity": (-0.1, 0.01)})
    counts = online_hybrids.counts(tmp_path).set_index("task")
    assert counts.loc["harm", ["better", "not_told_apart", "worse"]].tolist() == [1, 1, 0]
    assert counts.loc["toxicity", ["better", "not_told_apart", "worse"]].tolist() == [0, 1, 1]
    table = online_hybrids.table(tmp_path, "m", "harm")
    assert table["gain"].iloc[0] == "0.10 (0.00, 0.20)"
    path = online_hybrids.draw(tmp_path, tmp_path / "figures")
    assert len(pd.read_csv(path.with_suffix(".csv"))) == 4


def test_stopping_shows_those_that_avoid_most(tmp_path) -> None:
    figures = ("unsafe stopped", "safe cut", "unsafe tokens avoided", "safe tokens lost", "early")
    lines = [
        {"model": "m", "task": t, "monitor": n, "risk": r, "figure": f, "value": v, "ci_low": v,
         "ci_high": v, "n": 9, "reason": ""}
        for _, t in CELLS for r in (0.01, 0.05) for f in figures
        for n, v in (("probe", 0.4), ("guard", 0.6), ("always", 1.0))
    ]  # fmt: skip
    write(tmp_path, "stopping", lines)
    found = online_hybrids.stopping_table(tmp_path, 0.05)
    assert found["monitor"].tolist() == ["guard", "probe"] * 2
    assert found["unsafe answers stopped"].iloc[0] == "0.60 (0.60, 0.60)"
    empty = [{**x, "value": np.nan, "reason": "too few"} for x in lines]
    write(tmp_path, "stopping", empty)
    assert online_hybrids.stopping_table(tmp_path, 0.05).empty
    assert online_hybrids.why_not(tmp_path, 0.05) == "too few"


@pytest.mark.parametrize(
    ("useful", "verdict"),
    [
        ({"harm": (1, 4), "toxicity": (0, 2)}, SUPPORTED),
        ({"harm": (2, 4), "toxicity": (0, 2)}, REFUTED),  # half of them, in half of the cells
        ({"harm": (1, 4), "toxicity": (0, 0)}, SUPPORTED),  # where none is of use, nothing is lost
        ({"harm": (0, 0), "toxicity": (0, 0)}, online_claims.OPEN),
    ],
)
def test_c6_counts_what_is_of_use(tmp_path, useful, verdict) -> None:
    benchmark(tmp_path, {})
    write(
        tmp_path, "access",
        [
            {"model": m, "task": t, "level": level.name, "monitor": f"monitor {i}", "runs": True,
             "ci_low": 0.6 if i < n else 0.4}
            for m, t in CELLS
            for level, n in zip((TEXT, STATES), useful[t], strict=True)
            for i in range(5)
        ],
    )  # fmt: skip
    evidence, found = online_claims.closed(tmp_path)
    assert found == verdict
    assert "monitors that run: text " in evidence


def test_c6_without_the_table_of_access_is_open(tmp_path) -> None:
    benchmark(tmp_path, {})
    assert online_claims.closed(tmp_path)[1] == online_claims.OPEN


def test_others_stand_beside_our_own(tmp_path) -> None:
    benchmark(tmp_path, {})
    assert "SCM 7B" in set(online_claims.anchors(tmp_path)["work"])
    write(
        tmp_path, "stopping",
        [{"model": "m", "task": "harm", "monitor": n, "risk": 0.05, "figure": "early", "value": v}
         for n, v in (("probe", 0.3), ("guard", 0.2), ("always", 0.9))],
    )  # fmt: skip
    mine = online_claims.anchors(tmp_path).iloc[-1]
    assert mine["work"] == "here: probe, m"
    assert mine["value"] == 30


def test_nothing_watched_nothing_claimed(tmp_path) -> None:
    assert online_claims.examine_all(tmp_path).empty
    assert online_hybrids.counts(tmp_path).empty
    assert online_hybrids.draw(tmp_path, tmp_path) is None
    assert online_hybrids.stopping_table(tmp_path, 0.05).empty
    assert online_hybrids.why_not(tmp_path, 0.05) == ""
    assert len(online_claims.anchors(tmp_path)) > 5
