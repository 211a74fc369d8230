"""index.html: what it says at every stage, and that nothing on it can act."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from pydantic import BaseModel

from trustllm_repro.run_notebooks.stages import Notebook, Plan, Stage, write_index
from trustllm_repro.schema import OUR_JUDGE
from trustllm_repro.scoring.results import VERIFY
from trustllm_repro.store.atomic import write_text

INTRODUCTION = "# A *title* <b>\n\nOne **sentence** in\ntwo `lines`. Another one."


def page(run: Path, **state: tuple[str, str, float | None]) -> str:
    """The page of stages by name; state, note and seconds of each."""
    cells = [("markdown", INTRODUCTION)]
    made = {n: Notebook(n, cells, BaseModel, (), (), False) for n in state}
    stages = [Stage(made[n], {}, (), {}, *how) for n, how in state.items()]
    plan = Plan("tiny", run, stages, describes="for <tests>")
    return write_index(plan).read_text(encoding="utf-8")


RUNNING, DONE = ("running", "", None), ("done", "", 1.0)


def png() -> str:
    out = io.BytesIO()
    Image.new("RGB", (2000, 900), "red").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def executed(run: Path, name: str, *outputs: dict) -> None:
    cells = [{"cell_type": "markdown"}, {"outputs": [{"data": o} for o in outputs]}]
    write_text(run / "notebooks" / f"{name}.ipynb", json.dumps({"cells": cells}))
    write_text(run / "notebooks" / f"{name}.html", "x")


def test_before_the_first_stage(tmp_path):
    text = page(tmp_path, a=RUNNING, b=("due", "not run yet", None))
    assert "Nothing is counted yet" in text
    assert "0 of 2 notebooks are done, 1 running, 1 due" in text
    assert "not run yet" in text
    assert 'http-equiv="refresh"' in text
    assert "One sentence in two lines.</p>" in text
    assert "Another one" not in text


def test_everything_is_escaped(tmp_path):
    note = "<script>alert(1)</script>\x1b[31m\nsecond line"
    text = page(tmp_path, a=("failed", note, None))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    assert "second line" not in text
    assert "A *title* &lt;b&gt;" in text
    assert "for &lt;tests&gt;" in text
    assert "1 failed" in text
    assert "refresh" not in text


def test_verdicts_are_counted_as_soon_as_they_are_there(tmp_path):
    line = dict.fromkeys(VERIFY, "1")
    lines = [("authors", "reproduced")] * 3 + [("authors", "not recorded"), (OUR_JUDGE, "near, x")]
    rows = [",".join({**line, "rule": r, "verdict": f'"{v}"'}.values()) for r, v in lines[:4]]
    write_text(tmp_path / "verify.csv", "\n".join([",".join(VERIFY), *rows]) + "\n")
    text = page(tmp_path, a=RUNNING)
    assert "Of 4 published numbers" in text
    assert "<b>3</b> reproduced" in text
    assert '<a href="verify.csv">' in text
    (tmp_path / "verify.csv").write_text("half a li", encoding="utf-8")
    assert "Nothing is counted yet" in page(tmp_path, a=RUNNING)


@pytest.mark.parametrize("output", [{"image/png": png()}, {"image/png": [png()]}])
def test_the_first_figure_is_shown_small_and_links_are_relative(tmp_path, output):
    executed(tmp_path, "a", {"text/plain": ["x"]}, output)
    text = page(tmp_path, a=("done", "", 75.0))
    small = text.split("data:image/png;base64,")[1].split('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(small))).size == (640, 288)
    assert 'href="notebooks/a.html"' in text
    assert 'href="notebooks/a.ipynb"' in text
    assert "75 s" in text
    assert str(tmp_path) not in text
    assert "://" not in text


def test_a_notebook_without_a_figure_or_that_cannot_be_read(tmp_path):
    executed(tmp_path, "a", {"text/html": ["<svg></svg>"]})
    write_text(tmp_path / "notebooks" / "b.ipynb", "{")
    text = page(tmp_path, a=DONE, b=DONE)
    assert "data:image" not in text
    assert text.count("thumb empty") == 2


def test_of_a_failed_notebook_only_the_copy_with_the_error_is_shown(tmp_path):
    executed(tmp_path, "a", {"image/png": png()})
    text = page(tmp_path, a=("failed", "no luck", None))
    assert 'href="notebooks/a.ipynb"' in text
    assert "a.html" not in text
    assert "data:image" not in text


def test_an_unchanged_page_is_not_written_again(tmp_path):
    page(tmp_path, a=DONE)
    before = (tmp_path / "index.html").stat().st_mtime_ns
    page(tmp_path, a=DONE)
    assert (tmp_path / "index.html").stat().st_mtime_ns == before
