"""The measurement of defaults: four contenders, the same answers, ratios of the same rounds."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from benchmarks import defaults
from benchmarks.generation import Round


def test_ratios_are_of_the_same_round() -> None:
    rounds = {
        "slow": [Round(s, [], {}) for s in (4.0, 6.0, 10.0)],
        "quick": [Round(s, [], {}) for s in (2.0, 2.0, 1.0)],
    }
    found = defaults._ratio(rounds, "slow", "quick")
    assert found == {"median": 3.0, "min": 2.0, "max": 10.0}


def test_a_model_that_is_not_here_is_refused(tmp_path, capsys) -> None:
    out = tmp_path / "d.json"
    assert defaults.main(["--model", "http://localhost:1/v1#m", "--out", str(out)]) == 1
    assert "on this machine" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_all_are_timed_on_the_same_prompts(tiny, tmp_path) -> None:
    out = tmp_path / "d.json"
    asked = ["--model", str(tiny), "--prompts", "4", "--tokens", "3", "--repeats", "1"]
    assert defaults.main([*asked, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert len(found["contenders"]) == len(defaults.TIMED) * len(defaults.SIZES)
    assert {c["new_tokens"] for c in found["contenders"].values()} == {4 * 3}
    assert all(r["min"] <= r["median"] <= r["max"] for r in found["ratios"].values())
    assert found["settings"]["auto"] in defaults.TIMED
