"""What monitors cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.online.made import words
from tests.online.made_studies import made_study
from trustllm_repro.online.monitors.base import Need, Seen, all_monitors
from trustllm_repro.online.studies import costs as module
from trustllm_repro.online.studies.costs import costs, further


def test_every_monitor_and_hybrid_has_a_time(monkeypatch) -> None:
    monkeypatch.setattr(module, "MEMBERS", {"grey box": ("poor", "good")})
    study = made_study()
    found = {x["monitor"]: x for x in costs(study)}
    assert set(found) == set(study.everyone)
    assert all(x["microseconds_per_token"] > 0 for x in found.values())
    assert all(x["further_generations"] == 0 for x in found.values())


def test_a_hybrid_generates_as_much_as_its_costliest_member(monkeypatch) -> None:
    monkeypatch.setattr(module, "MEMBERS", {"grey box": ("poor", "good")})
    study = made_study()
    seen = [replace(s, samples=[words("a b")] * 5) for s in study.answered.seen]
    costly = replace(study.monitors["good"], needs=frozenset({Need.SAMPLES}))
    study = replace(
        study, answered=replace(study.answered, seen=seen),
        monitors={**study.monitors, "good": costly},
    )  # fmt: skip
    found = {x["monitor"]: x["further_generations"] for x in costs(study)}
    assert (found["good"], found["poor"], found["OR: grey box"]) == (5, 0, 5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sample VR, words", 5), ("perturbation VR, entropy jump", 4), ("self-examination", 3),
        ("SelfCheck prompt", 5 + 5 * 2), ("average entropy", 0),
    ],
)  # fmt: skip
def test_what_is_counted_is_what_was_made(name: str, expected: int) -> None:
    """Two sentences, five further answers, four branches a position, three questions."""
    seen = Seen(
        words("One thing is so. Another is not."), samples=[words("c")] * 5,
        branches={"jump": ("x",) * 4, "highest": ("y",) * 4},
        replies={"harmful": np.zeros((3, 2)), "supported": np.zeros((1, 2))},
    )  # fmt: skip
    assert further(all_monitors()[name], [seen, seen]) == expected
