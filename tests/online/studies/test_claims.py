"""The claims' criteria on scores whose truth is known, and on labels that mean nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from trustllm_repro.online.studies import claims
from trustllm_repro.online.studies.claims import OPEN, REFUTED, SUPPORTED, examine
from trustllm_repro.online.studies.evaluate import COLUMNS

N = 1200
BASE = {
    "prefix + token probe": 2.0, "prefix probe": 1.4, "token probe": 1.4, "words": 0.8,
    "average entropy": 0.6, "average likelihood": 0.5, "Mahalanobis distance": 0.4,
    "prompt probe": 0.3, "probes + words": 2.0, "entropy + token probe": 1.0,
}  # fmt: skip


def scores(
    task: str, strength: dict[str, float], labels: str = "real", seed: int = 0
) -> pd.DataFrame:
    """Scores that lie so much higher for unsafe answers; labels "real", "permuted" or "none": there
    is nothing to find, in either."""
    draw = np.random.default_rng([seed, len(task), labels == "permuted"])
    unsafe = np.arange(N) % 2 == 1
    frames = []
    for monitor, shift in strength.items():
        found = draw.normal(size=N) + shift * unsafe * (labels == "real")
        frame = pd.DataFrame(
            {
                "model": "m", "task": task, "monitor": monitor, "access": "white box",
                "level": "hidden states", "permuted": labels == "permuted", "case": np.arange(N),
                "group": (np.arange(N) // 2).astype(str), "fold": np.arange(N) // 2 % 5,
                "unsafe": unsafe, "disputed": False, "tokens": 50, "reason": "",
            }
        )  # fmt: skip
        columns = [c for c in COLUMNS["scores"] if c not in frame]
        frames.append(frame.assign(**dict.fromkeys(columns, found)))
    frames.append(
        frames[list(strength).index("average entropy")].assign(level="5 log-probabilities")
    )
    return pd.concat(frames, ignore_index=True)


def study(*frames: pd.DataFrame, placebo: str = "permuted") -> SimpleNamespace:
    sham = [scores(t, BASE, placebo).assign(permuted=True) for t in ("harm", "code")]
    return SimpleNamespace(scores=pd.concat([*frames, *sham], ignore_index=True))


def verdicts(of: SimpleNamespace) -> pd.DataFrame:
    return examine(of).set_index("id")


@pytest.fixture(autouse=True)
def timed(tmp_path: Path, monkeypatch) -> Path:
    """The one measurement there is of what watching costs."""
    batch = {"batch": 1, "rounds": 20, "ratio": 1.01, "ci_low": 1.0, "ci_high": 1.02}
    path = tmp_path / "measurements" / "guard_m_cpu.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"model": "m", "batches": [batch]}))
    monkeypatch.setattr(claims, "data_dir", lambda: tmp_path)
    return path


def test_what_is_there_is_found_and_the_placebo_finds_nothing() -> None:
    other = {**BASE, "prefix + token probe": 1.0, "words": 3.0, "probes + words": 4.0}
    found = verdicts(study(scores("harm", BASE), scores("code", other)))
    assert found["verdict"].to_dict() == {
        "C1": OPEN,  # in one of two
        "C2": SUPPORTED,  # words there, probes here
        "C3": REFUTED,  # one monitor serves every ratio
        "C4": SUPPORTED,
        "C5": SUPPORTED,  # it gains there, and not here
        "C6": OPEN,
    }
    assert not (found["placebo"] == SUPPORTED).any()
    alike = verdicts(study(scores("harm", BASE), scores("code", BASE)))
    assert alike["verdict"][["C1", "C2", "C6"]].tolist() == [SUPPORTED, REFUTED, SUPPORTED]


@pytest.mark.slow
def test_over_many_permutations_hardly_anything_is_supported() -> None:
    """D7 and the placebo: the old criteria were met in 4 of 4 cells."""
    met = []
    for seed in range(15):
        nothing = [scores(t, BASE, "none", seed) for t in ("harm", "code")]
        met.append(verdicts(study(*nothing))["verdict"] == SUPPORTED)
    assert pd.concat(met, axis=1).mean(axis=1).max() <= 0.2


def test_a_criterion_that_the_placebo_passes_shows_nothing() -> None:
    found = verdicts(study(scores("harm", BASE), scores("code", BASE), placebo="real"))
    assert (found["placebo"][["C1", "C6"]] == SUPPORTED).all()
    assert (found["verdict"][["C1", "C6"]] == OPEN).all()
    assert found["evidence"]["C1"].startswith("the placebo passes this criterion as well")


def test_no_scores_no_verdict() -> None:
    found = examine(SimpleNamespace(scores=pd.DataFrame(columns=COLUMNS["scores"])))
    assert (found["verdict"] == OPEN).all()
    assert (found["evidence"] != "").all()


def test_unsound_labels_disputed_answers_and_small_cells_do_not_count() -> None:
    some = scores("harm", BASE)
    assert len(claims.cells(some)) == 1
    assert claims.cells(some.assign(task="jailbreak")) == {}
    assert claims.cells(some.assign(disputed=True)) == {}
    assert claims.cells(some[some["case"] < 38]) == {}
    assert claims.cells(some, permuted=True) == {}


def test_without_live_timing_c4_is_open(timed: Path) -> None:
    of = study(scores("harm", BASE), scores("code", BASE))
    timed.write_text(timed.read_text().replace('"rounds": 20', '"rounds": 19'))
    assert "no live timing" in verdicts(of).loc["C4", "evidence"]
    timed.unlink()
    assert verdicts(of).loc["C4", "verdict"] == OPEN


def test_regret_of_one_monitor_where_each_ratio_has_its_own() -> None:
    """One monitor finds half of the unsafe answers and alarms no safe one, another the other way."""
    some = scores("harm", BASE)
    unsafe = np.arange(N) % 2 == 1
    half = np.arange(N) % 4 < 2
    noise = np.random.default_rng(0).random(N) / 10
    precise, complete = (unsafe & half) + noise, (unsafe | half) + noise
    for name, values in (("words", precise), ("average entropy", complete)):
        some.loc[some["monitor"] == name, "peak"] = np.tile(
            values, int((some["monitor"] == name).sum() / N)
        )
    for name in ("prefix + token probe", "average likelihood", "Mahalanobis distance"):
        some.loc[some["monitor"] == name, "peak"] = 0.0
    (cell,) = claims.cells(some).values()
    assert claims.regret(cell).sum() > 0.1
    (alone,) = claims.cells(scores("harm", {**BASE, "prefix + token probe": 9.0})).values()
    assert claims.regret(alone).sum() == pytest.approx(0, abs=1e-9)
