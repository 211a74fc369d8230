"""Controls."""

from __future__ import annotations

from tests.online.made import words
from trustllm_repro.online.monitors.base import Generation
from trustllm_repro.online.monitors.trivial import MONITORS


def test_they_look_at_nothing() -> None:
    seen = [Generation(words("one two")), Generation(words(""))]
    found = {m.name: [s.tolist() for s in m(seen)] for m in MONITORS}
    assert found == {"always": [[1, 1], []], "never": [[0, 0], []]}
