"""Figures, tables and executed notebooks as files."""

from __future__ import annotations

import io
from pathlib import Path

import nbformat
import pandas as pd
from matplotlib.figure import Figure
from nbconvert import HTMLExporter

from trustllm_repro.plot import styled
from trustllm_repro.scoring.run import Run
from trustllm_repro.scoring.tables import write_csv
from trustllm_repro.store.atomic import write_bytes, write_text

# Without dates and program versions, the same numbers give the same bytes.
_METADATA = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def save(figure: Figure, run: Run | str | Path, name: str, data: pd.DataFrame) -> None:
    """Write figures/<name>.pdf, .svg, .png (300 dots per inch) and .csv (the numbers drawn).

    The figure stays open. The same cells give the same bytes with the same fonts and libraries.

    Args:
        run: a run, or any folder.
        data: a row a mark; an index with names becomes columns.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = run.figures if isinstance(run, Run) else Path(run)
    engine = figure.get_layout_engine()
    with styled():
        figure.draw_without_rendering()  # the layout is found once, not once a format
        figure.set_layout_engine("none")
        for kind, metadata in _METADATA.items():
            buffer = io.BytesIO()
            figure.savefig(
                buffer, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.02
            )
            write_bytes(folder / f"{name}.{kind}", buffer.getvalue())
    figure.set_layout_engine(engine)
    named = data.reset_index() if data.index.names != [None] else data
    write_csv(folder / f"{name}.csv", named)


# Readable from a phone to a wide screen; wide tables scroll inside their box.
CSS = """
<style>
body.jp-Notebook{max-width:1120px;margin:0 auto!important;padding:1.2em 1.2em 4em!important}
.jp-RenderedHTMLCommon{font-size:15px;line-height:1.55;max-width:62em}
.jp-RenderedHTMLCommon h1{font-size:1.7em}.jp-RenderedHTMLCommon h2{font-size:1.3em;margin-top:1.4em}
.jp-InputPrompt,.jp-OutputPrompt{display:none!important}
.jp-InputArea-editor{font-size:12px;border:0!important;background:#f6f6f6!important}
.jp-Cell{padding:2px 0!important}
.jp-OutputArea-output{overflow-x:auto}
.jp-OutputArea-child .jp-RenderedHTMLCommon{max-width:none}
@media(max-width:900px){body.jp-Notebook{padding:.6em!important}.jp-RenderedHTMLCommon{font-size:14px}}
</style>
"""


def to_html(notebook: Path, target: Path) -> Path:
    """Write an executed notebook as one HTML file; parameter cells are left out."""
    book = nbformat.read(notebook, as_version=4)
    hidden = {"parameters", "injected-parameters"}
    book.cells = [c for c in book.cells if not hidden & set(c.metadata.get("tags", []))]
    title = book.cells[0].source.splitlines()[0].lstrip("# ") if book.cells else notebook.stem
    exporter = HTMLExporter(template_name="lab", embed_images=True)
    # No mathematics is typeset and no widget shown, so nothing has to be loaded from elsewhere.
    exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = ""
    page, _ = exporter.from_notebook_node(book, resources={"metadata": {"name": title}})
    return write_text(target, page.replace("</head>", CSS + "</head>", 1))
