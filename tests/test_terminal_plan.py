"""The plan on a terminal: every stage, its state, and an estimate only where there is work."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from trustllm_repro.pipeline import Plan, Stage
from trustllm_repro.terminal_plan import show

STAGES = [Stage("00_provenance", {}, ()), Stage("20_pilot", {}, ("00_provenance",))]


def shown(fresh: frozenset[str]) -> str:
    console = Console(width=120, file=io.StringIO())
    show(Plan("tiny", Path("run"), STAGES, fresh, {"20_pilot": 600}), console)
    return console.file.getvalue()


def test_work_to_do_has_an_estimate() -> None:
    text = shown(frozenset({"00_provenance"}))
    assert ("up to date" in text, "to run" in text) == (True, True)
    assert "about 10 min on two cores" in text


def test_nothing_to_do_has_none() -> None:
    text = shown(frozenset({"00_provenance", "20_pilot"}))
    assert "nothing to do" in text
    assert "about" not in text
