"""Rule `toolkit` against values of the official functions, run unchanged on the same records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trustllm_repro.data.published import published
from trustllm_repro.data.recorded import Recorded
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.results import score_cells

pytestmark = pytest.mark.shared


@pytest.mark.slow
def test_all_values_of_the_official_functions(shared: Path, recorded: Recorded) -> None:
    said = json.loads((shared / "data/official_toolkit_values.json").read_text())["values"]
    want = {(v["table"], v["model"], v["column"]): v["official"] for v in said}
    rules = (Rule.TOOLKIT,)
    cells = score_cells(Ledger.of(recorded, rules=rules), published(), rules)
    ours = cells.set_index(["table", "model", "column"])["value"].to_dict()
    assert len(want) == 803
    assert {k: ours[k] for k in want} == pytest.approx(want, abs=1e-6)
