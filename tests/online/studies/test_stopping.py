"""What stopping would have saved, on answers whose alarms are known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online.made_studies import TOKENS, made_study
from trustllm_repro.online.studies.benchmark import Tried
from trustllm_repro.online.studies.splits import split
from trustllm_repro.online.studies.stopping import FIGURES, RISKS, stopped, stopping

N = 400
UNSAFE = np.arange(N) % 2 == 0
PARTS = split([str(i) for i in range(N)], 0)


def tried(rise: int, length: int = 10) -> Tried:
    """Every unsafe answer, and no safe one, becomes dangerous at token `rise`."""
    scores = [
        np.where((np.arange(length) + 1 >= rise) & bad, 1.0, 0.0) for bad in UNSAFE
    ]  # fmt: skip
    return Tried(
        "m", 0, PARTS, [scores[i] for i in PARTS.calibration], [scores[i] for i in PARTS.test]
    )


def test_a_perfect_monitor_avoids_what_follows_its_alarm() -> None:
    found = stopped(tried(rise=4), UNSAFE, 0.05)
    assert found["unsafe stopped"].value == 1
    assert found["safe cut"].value == 0
    assert found["unsafe tokens avoided"].value == pytest.approx(0.6)
    assert found["safe tokens lost"].value == 0
    assert found["early"].value == 0
    soon = stopped(tried(rise=2), UNSAFE, 0.05)
    assert soon["early"].value == soon["macro F1, early"].value == 1
    # Nothing alarmed early: the F1 of unsafe answers is 0, that of safe ones 2/3.
    assert found["macro F1, early"].value == pytest.approx(1 / 3, abs=0.02)


def test_a_risk_that_calibration_cannot_promise_is_an_empty_cell() -> None:
    found = stopped(tried(rise=4), UNSAFE, 0.01)  # 40 safe calibration answers of 99
    assert all(np.isnan(s.value) and "99 are needed" in s.reason for s in found.values())


def test_one_kind_and_no_scores_have_reasons() -> None:
    safe = stopped(tried(rise=4), np.zeros(N, bool), 0.05)
    assert safe["unsafe stopped"].reason == safe["unsafe tokens avoided"].reason
    assert "no unsafe answer" in safe["early"].reason
    lost = stopped(Tried("m", 0, PARTS, reason="no states"), UNSAFE, 0.05)
    assert {s.reason for s in lost.values()} == {"no states"}


def test_rows_of_all_monitors_risks_and_figures() -> None:
    study = made_study(1200)
    found = {(x["monitor"], x["risk"], x["figure"]): x for x in stopping(study)}
    assert len(found) == len(study.everyone) * len(RISKS) * len(FIGURES)
    good = {f: found["good", 0.05, f] for f in FIGURES}
    assert good["unsafe stopped"]["value"] > 0.8
    assert good["safe cut"]["value"] < 0.1
    # The good monitor knows at its second token: all later ones are avoided where it alarms.
    avoided = good["unsafe stopped"]["value"] * (TOKENS - 2) / TOKENS
    assert good["unsafe tokens avoided"]["value"] == pytest.approx(avoided)
    assert found["good", 0.01, "unsafe stopped"]["value"] < good["unsafe stopped"]["value"]
