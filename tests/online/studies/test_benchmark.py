"""The comparison of monitors: on answers whose danger is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.online.made import states, trace
from trustllm_repro.online.monitors.base import Seen, all_monitors
from trustllm_repro.online.studies.benchmark import (
    Answered,
    attempt,
    attempts,
    figures,
    over_seeds,
    rows,
)
from trustllm_repro.schema import Score

MONITORS = all_monitors()
CHOSEN = {
    n: MONITORS[n] for n in ("always", "never", "linear probe, last layer", "average entropy")
}


def compare(answered: Answered, monitors, seeds=(0,)):
    """Figures by monitor, and what they rest on."""
    tried = {n: [attempt(m, answered, s) for s in seeds] for n, m in monitors.items()}
    table = {
        n: over_seeds([figures(t, answered.unsafe) for t in some]) for n, some in tried.items()
    }
    return table, tried


@pytest.fixture(scope="module")
def answered() -> Answered:
    """Half of 300 answers are unsafe; their states are moved, their entropy is not."""
    seen = states(0, 150, 6) + states(1, 150, 6, shift=1.5)
    return Answered("m", "t", seen, np.arange(300) >= 150, [str(i // 2) for i in range(300)])


@pytest.fixture(scope="module")
def compared(answered):
    return compare(answered, CHOSEN, seeds=(0, 1))


def test_the_monitor_that_knows_is_found_out(compared) -> None:
    table, _ = compared
    assert table["linear probe, last layer"]["AUROC"].value > 0.9
    for name in ("always", "never", "average entropy"):
        assert table[name]["AUROC"].value == 0.5  # all answers score alike


def test_trivial_monitors_at_their_points(compared) -> None:
    table, _ = compared
    assert table["always"]["SG, 10 % misses"].value == pytest.approx(0.5, abs=0.1)
    assert table["always"]["RH, 10 % misses"].value == 0
    assert table["never"]["AC, balanced"].value == 0


def test_gain_and_hazard_make_the_base_rate(answered, compared) -> None:
    for figures_of in compared[0].values():
        for point in ("balanced", "5 % false alarms", "10 % misses"):
            base = figures_of[f"SG, {point}"].value + figures_of[f"RH, {point}"].value
            assert base == pytest.approx(0.5, abs=0.08)


def test_false_alarms_are_near_what_was_asked_for(answered) -> None:
    rates = [
        figures(attempt(CHOSEN["linear probe, last layer"], answered, s), answered.unsafe)[
            "false alarms, 5 % false alarms"
        ].value
        for s in range(12)
    ]
    assert np.mean(rates) < 0.08


def test_an_early_alarm_needs_few_tokens(compared) -> None:
    found = compared[0]["linear probe, last layer"]
    assert 1 <= found["tokens, 5 % false alarms"].value <= 6
    assert 0 < found["share, 5 % false alarms"].value <= 1


@pytest.mark.parametrize("unsafe", [True, False])
def test_one_kind_of_answers_leaves_cells_empty_with_a_reason(answered, unsafe: bool) -> None:
    one = Answered("m", "t", answered.seen, np.full(300, unsafe), answered.groups)
    table, _ = compare(one, CHOSEN, seeds=(0,))
    for by in table.values():
        assert math.isnan(by["AUROC"].value)
        assert by["AUROC"].reason
    assert all(s.reason for s in table["linear probe, last layer"].values())


def test_too_few_calibration_answers_empty_the_point_and_no_other() -> None:
    seen = states(0, 20, 3) + states(1, 20, 3, shift=2)
    few = Answered("m", "t", seen, np.arange(40) >= 20, [str(i) for i in range(40)])
    table, _ = compare(few, CHOSEN, seeds=(0,))
    point = table["linear probe, last layer"]["SG, 5 % false alarms"]
    assert math.isnan(point.value)
    assert "19 are needed" in point.reason
    assert not math.isnan(table["linear probe, last layer"]["SG, balanced"].value)


@pytest.mark.parametrize("name", ["average entropy", "guard: toxicity", "linear probe, last layer"])
def test_all_seeds_at_once_are_each_seed_alone(answered, name: str) -> None:
    monitor = MONITORS[name]
    for one in attempts(monitor, answered, (0, 3)):
        alone = attempt(monitor, answered, one.seed)
        for mine, other in ((one.calibration, alone.calibration), (one.test, alone.test)):
            assert len(mine) == len(other)
            assert all(
                np.array_equal(a, b, equal_nan=True) for a, b in zip(mine, other, strict=True)
            )
    assert [t.reason for t in attempts(monitor, answered, (0, 1), "no states")] == ["no states"] * 2


def test_what_learns_nothing_reads_every_answer_once(answered) -> None:
    class Counting:
        name, trained, read = "counting", False, 0

        def __call__(self, seen):
            self.read += len(seen)
            return [np.zeros(len(s.trace)) for s in seen]

    monitor = Counting()
    attempts(monitor, answered, range(5))
    assert monitor.read == len(answered)


def test_means_over_seeds() -> None:
    one, two = Score(0.2, 10, 0, 0, 0.1, 0.4), Score(0.4, 12, 2, 0, 0.3, 0.6)
    found = over_seeds([{"a": one, "b": one}, {"a": two, "b": Score(math.nan, reason="why")}])
    assert found["a"] == Score(pytest.approx(0.3), 11, 1, 0, pytest.approx(0.2), pytest.approx(0.5))
    assert found["b"].value == 0.2
    assert found["b"].reason == "1 of 2 seeds have no value"
    assert over_seeds([{"b": Score(math.nan, reason="why")}] * 2)["b"].reason == "why"


def test_empty_and_one_token_answers_are_answers() -> None:
    seen = [Seen(trace([])), Seen(trace(["a"]))] * 60
    odd = Answered("m", "t", seen, np.arange(120) % 4 == 1, [str(i) for i in range(120)])
    table, _ = compare(odd, {n: MONITORS[n] for n in ("always", "average likelihood")}, seeds=(0,))
    found = table["average likelihood"]["AUROC"]
    assert found.n_unparsed > 0  # answers without a token have no score, and are counted
    alarms = table["always"]["SG, balanced"], table["always"]["RH, balanced"]
    assert sum(s.value for s in alarms) == pytest.approx(0.25, abs=0.1)


def test_rows_name_access(answered, compared) -> None:
    _, tried = compared
    found = rows({**tried, "pair": tried["always"]}, answered, CHOSEN)
    access = {r["monitor"]: r["access"] for r in found}
    assert access["linear probe, last layer"] == "white box"
    assert access["pair"] == "hybrid"
    assert len(found) == 5 * len({r["figure"] for r in found})
