"""A notebook shows a figure as it was saved, once."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import trustllm_repro as tr


@pytest.mark.parametrize("backend", ["inline", "module://matplotlib_inline.backend_inline", "agg"])
def test_what_is_shown_is_the_saved_file(tmp_path: Path, monkeypatch, backend: str) -> None:
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setattr(plt, "get_backend", lambda: backend)
    figure, axis = plt.subplots(figsize=(tr.plot.COLUMN, 1), layout="constrained")
    axis.plot([1, 2])
    tr.save(figure, tmp_path, "line", pd.DataFrame({"y": [1, 2]}))
    in_a_notebook = backend != "agg"
    assert [i.data for i in shown] == [(tmp_path / "line.png").read_bytes()] * in_a_notebook
    assert plt.fignum_exists(figure.number) is not in_a_notebook
    plt.close(figure)
