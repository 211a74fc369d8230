"""Frames as styled tables."""

import pandas as pd

from trustllm_repro.display import show


def test_long_text_breaks_lines_although_cells_do_not() -> None:
    html = show(pd.DataFrame({"n": [1], "text": ["long"]}), wrap=["text"]).to_html()
    rules = [r.split("{")[1] for r in html.split("}") if " td.col1 " in r]
    assert len(rules) == 1
    assert "white-space: normal" in rules[0]
    assert " td.col0 " not in html


def test_text_is_escaped() -> None:
    html = show(pd.DataFrame({"<b>": ["<script>"]}, index=["<i>"])).to_html()
    assert not [tag for tag in ("<script>", "<b>", "<i>") if tag in html]
