"""An executed notebook as a page that can be read without Jupyter."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from trustllm_repro.store.atomic import write_text

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
    page, _ = _exporter().from_notebook_node(book, resources={"metadata": {"name": title}})
    return write_text(target, page.replace("</head>", CSS + "</head>", 1))


@cache
def _exporter() -> HTMLExporter:
    exporter = HTMLExporter(template_name="lab", embed_images=True)
    # No mathematics is typeset and no widget shown, so nothing has to be loaded from elsewhere.
    exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = ""
    return exporter
