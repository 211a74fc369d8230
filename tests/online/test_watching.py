"""Watching one answer: the same dangers as offline, alarms by the threshold of stored answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.base import Request
from trustllm_repro.online import watching
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.collect import Collector
from trustllm_repro.online.generations.tasks import OnlineTask
from trustllm_repro.online.generations.traces import generated
from trustllm_repro.online.monitors.base import Need, Seen, all_monitors
from trustllm_repro.online.studies.operate import first_alarm
from trustllm_repro.online.watching import Guard, look, ready, watch, watchers

CASES = [
    Case(i, f"g{i}", f"Question {i}?", answer=f"Tram number {i} is {'late' if i % 3 else 'red'}.",
         unsafe=i % 3 == 0)
    for i in range(90)
]  # fmt: skip
TASK = OnlineTask("toy", "Toy", "bad", "made here", lambda: CASES, ("people",), "harm", 12)


@pytest.fixture(scope="module")
def collector(model, tmp_path_factory) -> Collector:
    """With the traces of all cases stored."""
    made = Collector(model, tmp_path_factory.mktemp("online"), (1, 2))
    made.collect(TASK, CASES, frozenset({Need.LOGP}))
    return made


def missing():
    raise SourceMissing("no wheel", remedy="reach an index")


def test_monitors_that_need_further_answers_are_not_offered() -> None:
    found = watchers()
    assert {"average entropy", "SAPLMA", "guard: toxicity", "stacking: grey box"} <= set(found)
    assert not {"always", "never", "OR: all levels"} & set(found)
    later = {Need.SAMPLES, Need.BRANCHES, Need.REPLIES}
    assert not any(m.needs & later for m in found.values())


@pytest.mark.parametrize(
    "name", ["average entropy", "linear probe, last layer", "OR: grey and white box"]
)
def test_while_it_is_generated_as_when_it_is_read_whole(model, collector, name: str) -> None:
    guard = ready(collector, TASK, name, 0.1)
    said = []
    done = watch(model, guard, "Tell me about trams.", 10, said.append)
    ((_, _, trace),) = (x for b in generated(model, [Request("Tell me about trams.", 10)], (1, 2))
                        for x in b)  # fmt: skip
    offline = guard.monitor([Seen(trace, "Tell me about trams.")])[0]
    assert done.danger == pytest.approx(offline, abs=1e-5)
    assert "".join(done.pieces) == trace.text
    assert done.alarm == first_alarm([offline], guard.threshold)[0]
    assert [len(s.pieces) for s in said] == list(range(1, len(done.pieces) + 1))
    for beginning in said:
        n = len(beginning.pieces)
        assert beginning.danger == pytest.approx(done.danger[:n], abs=1e-4)
        assert beginning.level == pytest.approx(guard.level(beginning.danger))
    assert watch(model, guard, "Tell me about trams.", 10).pieces == done.pieces


def test_the_threshold_keeps_its_risk_on_the_safe_answers(collector) -> None:
    guard = ready(collector, TASK, "average entropy", 0.2)
    assert not guard.reason
    assert (guard.safe >= guard.threshold).sum() + 1 <= 0.2 * (len(guard.safe) + 1)
    assert guard.level(np.array([-np.inf, np.inf, np.nan])) == pytest.approx(
        [0, 1, np.nan], nan_ok=True
    )


def test_an_alarm_is_raised_at_the_first_token_that_reaches_the_threshold(model, collector) -> None:
    guard = ready(collector, TASK, "entropy, token", 0.2)
    free = watch(model, guard, "Why?", 10)
    at = int(np.argmax(free.danger)) + 1
    done = watch(model, replace(guard, threshold=float(free.danger.max())), "Why?", 10)
    assert done.alarm == at


def test_nothing_is_generated_to_fit_a_monitor(model, tmp_path) -> None:
    empty = Collector(model, tmp_path / "empty", (1, 2))
    guard = ready(empty, TASK, "average entropy", 0.05)
    assert guard.reason == "there are none"
    assert guard.threshold == np.inf
    done = watch(model, guard, "Why?", 4)
    assert (done.alarm, done.reason) == (0, "there are none")
    assert np.isnan(done.level).all()
    assert not (tmp_path / "empty").exists()
    with pytest.raises(SettingsError, match="cannot be fitted"):
        ready(empty, TASK, "SAPLMA", 0.05)


def test_without_data_there_is_no_threshold(collector) -> None:
    guard = ready(collector, replace(TASK, cases=missing), "average entropy", 0.05)
    assert guard.reason == "no wheel"


def test_too_few_safe_answers_for_the_risk_are_said(collector) -> None:
    guard = ready(collector, TASK, "average entropy", 0.001)
    assert "999 are needed" in guard.reason
    assert len(guard.safe)
    assert np.isnan(look(guard, _trace(collector), "").limit)


def _trace(collector):
    return collector.kept(TASK, CASES[:1])[0][1].trace


@pytest.mark.parametrize(
    ("name", "risk"), [("no such", 0.1), ("always", 0.1), ("SelfCheckGPT, n-gram", 0.1),
                       ("average entropy", 0.0), ("average entropy", 1.0)],
)  # fmt: skip
def test_senseless_wishes_are_refused(collector, name: str, risk: float) -> None:
    with pytest.raises(SettingsError):
        ready(collector, TASK, name, risk)


def test_the_judge_of_the_labels_does_not_watch(collector) -> None:
    judged = replace(TASK, judges=("toxicity, mild",))
    with pytest.raises(SettingsError, match="labels the answers"):
        ready(collector, judged, "guard: toxicity", 0.1)


def test_an_empty_answer_has_no_danger(collector) -> None:
    guard = Guard(all_monitors()["average entropy"], (1, 2))
    whole = _trace(collector)
    nothing = replace(
        whole, ids=whole.ids[:0], text="", ends=whole.ends[:0], logp=whole.logp[:0],
        entropy=whole.entropy[:0], top_ids=whole.top_ids[:0], top_logp=whole.top_logp[:0], hidden={},
    )  # fmt: skip
    found = look(guard, nothing, "Why?")
    assert (found.pieces, found.alarm) == ((), 0)


def test_only_so_many_stored_answers_are_read(collector, monkeypatch) -> None:
    monkeypatch.setattr(watching, "MOST", 30)
    assert len(ready(collector, TASK, "average entropy", 0.5).safe) <= 15
