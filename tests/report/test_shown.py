"""Tables of pages: as CSV, and as LaTeX in which no cell can act."""

from __future__ import annotations

import pandas as pd

from trustllm_repro.report.shown import texts, write_shown
from trustllm_repro.scoring.tables import booktabs

FRAME = pd.DataFrame(
    {
        "model_name": ["a_b & c", "d"],
        "n": [3, 4],
        "share": [0.12345, float("nan")],
        "whole": [2.0, float("nan")],
        "why": ["because", "100 %"],
    }
)


def test_hostile_cells_are_inert() -> None:
    table = booktabs(["a"], [[r"\input{/etc/passwd} 5% $x$ a_b & c"]], "l")
    assert r"\input{" not in table
    assert r"5\% \$x\$ a\_b \& c" in table


def test_numbers_have_the_same_digits_in_a_column_and_gaps_a_dash() -> None:
    assert texts(FRAME) == [
        ["a_b & c", "3", "0.123", "2", "because"],
        ["d", "4", "–", "–", "100 %"],
    ]
    assert texts(pd.DataFrame({"p": [0.00001, 0.5]})) == [["1.0e-05"], ["0.500"]]


def test_a_shown_table_is_kept_whole_and_as_it_is_shown(tmp_path) -> None:
    paths = write_shown(tmp_path, "t", FRAME, wrap=("why",))
    assert [p.name for p in paths] == ["t.csv", "t.tex"]
    assert pd.read_csv(paths[0])["share"].tolist()[0] == 0.12345
    tex = paths[1].read_text(encoding="utf-8")
    assert "{lrrr>{" in tex
    assert r"model name & n & share & whole & why \\" in tex
    assert r"a\_b \& c & 3 & 0.123 & 2 & because \\" in tex
    assert r"d & 4 & -- & -- & 100 \% \\" in tex
