"""Monitors tried at every level of access."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.online.made import trace
from trustllm_repro.online.generations.tasks import TASKS
from trustllm_repro.online.monitors.base import Need, Seen, all_monitors
from trustllm_repro.online.studies import closed
from trustllm_repro.online.studies.benchmark import Answered, attempts, figures, over_seeds
from trustllm_repro.online.studies.closed import access, lost
from trustllm_repro.online.studies.levels import LEVELS, STATES, TEXT, TOP5
from trustllm_repro.online.studies.scores import auroc
from trustllm_repro.online.studies.study import Study

TRIED = (
    "always", "guard: toxicity", "average likelihood", "average entropy", "average entropy, top 5",
    "maximum entropy", "first token", "self-examination", "linear probe, last layer",
)  # fmt: skip
SEEDS = (0, 1)


def answers(n: int = 80) -> tuple[list[Seen], np.ndarray]:
    """Unsafe answers are drawn from flatter tails: it shows in the entropy, hardly in the top 5."""
    draw, unsafe = np.random.default_rng(3), np.arange(n) % 2 == 0
    found = []
    for i, bad in enumerate(unsafe):
        best = draw.dirichlet([2.0] * 5, size=6) * 0.7
        top = np.sort(np.log(best), axis=1)[:, ::-1]
        one = trace(
            ["x "] * 6, logp=top[:, 0], top=top, hidden=draw.normal(size=(6, 3)) + bad,
            entropy=draw.normal(1.0 + bad, 0.2, size=6),
            first=dict(zip(range(7), [*top[0], -5.0, -9.0 if bad else -6.0], strict=True)),
        )  # fmt: skip
        danger = 0.55 + 0.2 * bad
        found.append(
            Seen(one, str(i), replies={"harmful": np.array([[6, danger, float(danger > 0.5)]])})
        )
    return found, unsafe


def made(level=STATES, **more) -> Study:
    seen, unsafe = answers()
    monitors = {n: m for n, m in all_monitors().items() if n in TRIED}
    answered = Answered("m", "harm", seen, unsafe, [str(i) for i in range(len(seen))])
    tried = {n: attempts(m, answered, SEEDS, level.why_not(m)) for n, m in monitors.items()}
    study = Study(TASKS["harm"], [], seen, [], answered, monitors, tried, {}, level=level)
    return replace(study, **more)


@pytest.fixture(scope="module")
def study() -> Study:
    with pytest.MonkeyPatch.context() as patch:  # the guard's classifier is a large file
        patch.setattr(
            "trustllm_repro.judges.learned.ToxicityJudge.scores",
            lambda s, t: np.zeros(len(t)),
            raising=True,
        )
        return made()


@pytest.fixture(scope="module")
def lines(study) -> dict:
    return {(x["level"], x["monitor"]): x for x in access(study)}


def test_every_level_has_every_monitor(lines) -> None:
    assert set(lines) == {(level.name, n) for level in LEVELS for n in TRIED}
    runs = [sum(lines[level.name, n]["runs"] for n in TRIED) for level in LEVELS]
    assert runs == [3, 8, 8, 9]
    for line in lines.values():
        assert line["runs"] == (line["reason"] == "")
        assert np.isnan(line["value"]) == (not line["runs"])


def test_at_its_own_level_a_model_is_as_in_the_table_of_monitors(study, lines) -> None:
    for name, seeds in study.tried.items():
        one = over_seeds([figures(t, study.answered.unsafe) for t in seeds])["AUROC"]
        line = lines[STATES.name, name]
        assert (line["value"], line["ci_low"], line["n"]) == (one.value, one.ci_low, one.n)


def test_only_who_sees_less_is_tried_again(study, monkeypatch) -> None:
    asked = []

    def counted(monitor, answered, seeds):
        asked.append(monitor.name)
        return attempts(monitor, answered, seeds)

    monkeypatch.setattr(closed, "attempts", counted)
    changed = {(x["level"], x["monitor"]) for x in access(study) if x["changed"]}
    assert changed == {
        (TEXT.name, "self-examination"), (TOP5.name, "average entropy"),
        (TOP5.name, "maximum entropy"), (TOP5.name, "first token"),
    }  # fmt: skip
    assert sorted(asked) == sorted(n for _, n in changed)


def test_what_is_lost_is_measured_on_the_same_answers(study, lines) -> None:
    line, whole = (lines[level.name, "average entropy"] for level in (TOP5, STATES))
    assert whole["value"] > 0.95
    assert line["value"] < 0.75
    assert line["loss"] == pytest.approx(whole["value"] - line["value"])
    assert line["p"] < 0.01
    assert line["value"] == lines[TOP5.name, "average entropy, top 5"]["value"]
    assert lines[TEXT.name, "self-examination"]["value"] == 0.5  # its words are "yes" to all
    assert lines[TOP5.name, "self-examination"]["value"] == 1.0
    same = lines[TOP5.name, "average likelihood"]
    assert np.isnan(same["loss"])
    assert np.isnan(same["p"])


def test_a_model_is_not_looked_at_above_its_level() -> None:
    few = {n: m for n, m in all_monitors().items() if n in ("average entropy", "always")}
    lines = access(made(TEXT, monitors=few))
    assert [(x["level"], x["monitor"], x["runs"]) for x in lines] == [
        (TEXT.name, "average entropy", False), (TEXT.name, "always", True),
    ]  # fmt: skip
    assert lines[0]["reason"] == "the endpoint shows no log-probabilities"


@dataclass(frozen=True)
class Part:
    test: np.ndarray


@dataclass(frozen=True)
class Told:
    split: Part
    test: list[np.ndarray]
    reason: str = ""


def test_nothing_to_compare_is_no_number() -> None:
    unsafe = np.array([True, False, True, False])
    one = Told(Part(np.arange(4)), [np.array([x]) for x in (0.9, 0.1, 0.8, 0.2)])
    assert lost([one], [one], unsafe) == (0.0, 1.0)
    assert np.isnan(lost([one], [replace(one, reason="too little")], unsafe)).all()
    assert np.isnan(lost([one], [one], np.ones(4, bool))).all()
    unknown = replace(one, test=[np.array([np.nan])] * 4)
    assert np.isnan(lost([one], [unknown], unsafe)).all()
    assert auroc(unsafe, np.full(4, np.nan)).reason
    assert Need.TEXT in all_monitors()["guard: toxicity"].needs
