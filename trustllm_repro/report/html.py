"""HTML for notebooks: every text goes through jinja2 with autoescape, so nothing can act."""

from __future__ import annotations

import base64
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment
from matplotlib.figure import Figure

from trustllm_repro.export import save
from trustllm_repro.report.shown import texts

_ENV = Environment(autoescape=True)

STYLE = """
<style>
.tr{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-size:13px;line-height:1.35}
.tr-box{overflow-x:auto;max-width:100%;margin:.4em 0 1em}
.tr table{border-collapse:collapse;border:0;margin:0}
.tr th,.tr td{padding:.28em .6em;border:0;border-bottom:1px solid #e4e4e4;text-align:left!important;
 vertical-align:top;white-space:nowrap;background:#fff!important}
.tr thead th{border-bottom:2px solid #555;font-weight:600;white-space:normal;min-width:3.6em}
.tr td.w{white-space:normal;min-width:10em}.tr td.v{font-variant-numeric:tabular-nums}
.tr .ci{color:#777;font-size:11px}.tr .pub{color:#555;font-size:11px}
.tr .fix{color:#a65300;font-size:11px}
.tr .tag{display:inline-block;border-radius:3px;padding:0 .45em;font-size:11px;white-space:nowrap}
.tr .reproduced,.tr .supported{background:#d7e8f5;color:#024a7a}
.tr .high{background:#d7e8f5;color:#024a7a}.tr .low{background:#ececec;color:#444}
.tr .near{background:#d5efe4;color:#00543b}
.tr .differs,.tr .not-supported{background:#fbdcd0;color:#8a2c00}
.tr .artefact{background:#fce9c2;color:#6b4400}
.tr .not-recorded,.tr .not-decidable-from-records,.tr .not-published{background:#ececec;color:#555}
.tr .ours{border:1px dashed #888;color:#444}
.tr .note{color:#666;font-size:12px;margin:.2em 0}
.tr img{max-width:100%;height:auto}
</style>
"""

_PLAIN = _ENV.from_string("""
<div class="tr"><div class="tr-box"><table>
<thead><tr>{% for c in columns %}<th>{{ c }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for c in row %}<td class="{{ c.css }}">
{%- if c.tag %}<span class="tag {{ c.tag }}">{{ c.text }}</span>{% else %}{{ c.text }}{% endif -%}
</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div></div>
""")

TAGS = {"verdict"}


def _css(word: str) -> str:
    return word.replace(" ", "-")


def plain_table(frame: pd.DataFrame, digits: int = 3, wrap: tuple[str, ...] = ()) -> str:
    """Any small frame; verdict columns become tags, columns in `wrap` may break lines."""
    rows = [
        [
            {
                "text": text,
                "css": "w" if name in wrap else "v",
                "tag": _css(text) if name in TAGS else "",
            }
            for name, text in zip(frame.columns, line, strict=True)
        ]
        for line in texts(frame, digits)
    ]
    return _PLAIN.render(columns=[str(c).replace("_", " ") for c in frame.columns], rows=rows)


def note(text: str) -> str:
    """A line of small print, such as the name of the table that follows."""
    return _ENV.from_string('<div class="tr"><p class="note">{{ text }}</p></div>').render(
        text=text
    )


def folded(heading: str, body: str) -> str:
    """HTML of ours under a heading that opens it."""
    return _ENV.from_string(
        '<details class="tr"><summary>{{ heading }}</summary>{{ body|safe }}</details>'
    ).render(heading=heading, body=body)


def image(path: Path, text: str) -> str:
    """A PNG as an inline picture with alternative text; the page needs no other file."""
    png = path.read_bytes()
    # Bytes 16 to 20 of a PNG are its width in pixels; figures are saved at 300 dots per inch and
    # shown at 130, so that all have letters of one size.
    width = int.from_bytes(png[16:20], "big") * 130 // 300
    data = base64.b64encode(png).decode()
    return _ENV.from_string(
        '<div class="tr"><img src="data:image/png;base64,{{ data }}" alt="{{ text }}" '
        'style="width:{{ width }}px"></div>'
    ).render(data=data, text=text, width=width)


def paragraph_list(items: list[tuple[str, str, str]]) -> str:
    """(tag, heading, text) triples as a list; the tag is a verdict or a word like "defect"."""
    return _ENV.from_string(
        '<div class="tr"><ul>{% for tag, css, head, text in items %}<li style="margin:.5em 0">'
        '<span class="tag {{ css }}">{{ tag }}</span> <b>{{ head }}</b><br>{{ text }}</li>'
        "{% endfor %}</ul></div>"
    ).render(items=[(t, _css(t) if t != "defect" else "differs", h, x) for t, h, x in items])


def saved(figure: Figure, data: pd.DataFrame, folder: Path, name: str) -> Path:
    """Save a figure, close it, and give the path of its PNG."""
    save(figure, folder, name, data)
    plt.close(figure)
    return folder / f"{name}.png"
