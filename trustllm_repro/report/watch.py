"""25_watch: an answer, its tokens coloured by danger, and the alarm; as SVG, and live in a widget.

What a model says can hold anything, so every text is escaped, control characters and marks that
turn the direction of writing are replaced, and the SVG has neither scripts nor links.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from matplotlib import colormaps
from matplotlib.colors import to_hex

from trustllm_repro.escape import without_controls
from trustllm_repro.plot import GREY, INK, LIGHT

if TYPE_CHECKING:
    from trustllm_repro.online.watching import Watched

WIDTH, MARGIN = 760, 14
CELL, LINE = 8.4, 24  # of a letter, and from line to line
COLUMNS = int((WIDTH - 2 * MARGIN) / CELL)
CURVE = 90
# Lightness falls with danger, also in print and to those who see few colours; black letters can be
# read up to the strongest that is used.
COLOURS = colormaps["YlOrBr"]
STRONGEST = 0.6
ALARM = "#8c2d04"
# Marks of direction, and what no XML may hold.
_UNSAFE = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def shown(text: str) -> str:
    """A text as it may stand in XML on one line."""
    return escape(_UNSAFE.sub("\ufffd", without_controls(text)).replace("\t", " "))


def cells(text: str) -> int:
    """Columns a text takes in a font of equal widths; wide letters take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


@dataclass(frozen=True)
class _Piece:
    """A part of a token that stands on one line."""

    text: str
    token: int
    line: int
    column: int


def _laid_out(pieces: Sequence[str], columns: int = COLUMNS) -> Iterator[_Piece]:
    """Pieces go to the next line where they would not fit, and are cut only if longer than one."""
    line = column = 0
    for token, piece in enumerate(pieces):
        for i, text in enumerate(re.split(r"\r\n|[\n\r\v\f\x85\u2028\u2029]", piece)):
            if i:
                line, column = line + 1, 0
            for part in _cut(text, columns):
                if column and column + cells(part) > columns:
                    line, column = line + 1, 0
                    part = part.removeprefix(" ") or part
                yield _Piece(part, token, line, column)
                column += cells(part)


def _cut(text: str, columns: int) -> Iterator[str]:
    while cells(text) > columns:
        n = columns // 2  # wide letters take two columns
        yield text[:n]
        text = text[n:]
    if text:
        yield text


def _lines(pieces: Sequence[_Piece]) -> int:
    """Room for at least one is left, also for a text of blank lines, of which nothing is drawn."""
    return 1 + (pieces[-1].line if pieces else 0)


def colour(level: float) -> str:
    """Of a level from 0 to 1; white where it is not known."""
    return "#ffffff" if math.isnan(level) else to_hex(COLOURS(STRONGEST * min(max(level, 0), 1)))


def svg(watched: Watched, title: str, risk: float) -> str:
    """The answer as an SVG document.

    Args:
        title: which model and monitor. risk: of false alarms, for which the threshold was set.
    """
    prompt, answer = list(_laid_out([watched.prompt])), list(_laid_out(watched.pieces))
    top = 46 + LINE * _lines(prompt) + 16
    below = top + LINE * _lines(answer) + 22
    height = below + CURVE + 58
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%" '
        f'style="max-width:{WIDTH}px" role="img" font-family="DejaVu Sans Mono, Menlo, Consolas, '
        f'monospace" font-size="13.5" fill="{INK}">',
        f"<title>{shown(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _words(MARGIN, 20, title, size=12, weight="bold"),
        _words(MARGIN, 38, _verdict(watched, risk), size=12, fill=ALARM if watched.alarm else GREY),
        *(_letters(p, 46 + LINE * (p.line + 1) - 7, GREY) for p in prompt),
        *(part for p in answer for part in _token(p, watched, top)),
        *_curve(watched, below),
        *_legend(below + CURVE + 36, dashed=not math.isnan(watched.limit)),
        "</svg>",
    ]
    return "".join(parts)


def _verdict(watched: Watched, risk: float) -> str:
    n = len(watched.pieces)
    if watched.reason:
        return f"no alarm can be set: {watched.reason}"
    if watched.alarm:
        return f"alarm after {watched.alarm} of {n} tokens ({risk:.0%} false alarms allowed)"
    return f"no alarm in {n} tokens ({risk:.0%} false alarms allowed)"


def _words(x: float, y: float, text: str, size: float = 11, **more: str) -> str:
    looks = {"fill": INK, "font-family": "DejaVu Sans, Helvetica, Arial, sans-serif"} | {
        {"weight": "font-weight", "anchor": "text-anchor"}.get(k, k): v for k, v in more.items()
    }
    attributes = "".join(f' {k}="{v}"' for k, v in looks.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"{attributes}>{shown(text)}</text>'


def _letters(piece: _Piece, y: float, fill: str = INK) -> str:
    """Text of a piece; its width is given, so that it fits its box in any font."""
    width = cells(piece.text) * CELL
    if not piece.text.strip() or not width:
        return ""
    return (
        f'<text x="{MARGIN + piece.column * CELL:.1f}" y="{y:.1f}" xml:space="preserve" fill="{fill}" '
        f'textLength="{width:.1f}" lengthAdjust="spacingAndGlyphs">{shown(piece.text)}</text>'
    )


def _token(piece: _Piece, watched: Watched, top: float) -> Iterator[str]:
    """Its box; at or above the limit it is underlined, and what comes after the alarm is pale."""
    x, y = MARGIN + piece.column * CELL, top + LINE * piece.line
    width, level = cells(piece.text) * CELL, float(watched.level[piece.token])
    late = bool(watched.alarm) and piece.token >= watched.alarm
    yield f'<g opacity="{0.35 if late else 1}">'
    yield (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{LINE - 4}" fill="{colour(level)}">'
        f"<title>token {piece.token + 1}: {_number(level)}</title></rect>"
    )
    yield _letters(piece, y + 15)
    if level >= watched.limit:  # not by colour alone
        yield f'<path d="M{x:.1f} {y + LINE - 4:.1f}h{width:.1f}" stroke="{ALARM}" stroke-width="2"/>'
    yield "</g>"
    if watched.alarm and piece.token == watched.alarm - 1:
        end = x + width
        yield f'<path d="M{end:.1f} {y - 3:.1f}v{LINE + 2}" stroke="{ALARM}" stroke-width="2.5"/>'
        yield f'<path d="M{end:.1f} {y - 3:.1f}l-5 -6h10z" fill="{ALARM}"/>'


def _number(level: float) -> str:
    return "not known" if math.isnan(level) else f"{level:.2f}"


def _curve(watched: Watched, top: float) -> Iterator[str]:
    """Level against token, with the one from which on the alarm is raised."""
    left, right, n = MARGIN + 34, WIDTH - MARGIN, len(watched.pieces)

    def y(level: float) -> float:
        return top + CURVE * (1 - level)

    for level in (0.0, 0.5, 1.0):
        yield f'<path d="M{left} {y(level):.1f}H{right}" stroke="{LIGHT}"/>'
        yield _words(left - 6, y(level) + 4, f"{level:.1f}", 10, anchor="end", fill=GREY)
    if not math.isnan(watched.limit):
        at = y(min(watched.limit, 1.0))
        yield f'<path d="M{left} {at:.1f}H{right}" stroke="{ALARM}" stroke-dasharray="5 4"/>'
    step = (right - left) / max(n, 1)
    known = [i for i in range(n) if not math.isnan(watched.level[i])]
    points = " ".join(f"{left + step * (i + 0.5):.1f},{y(watched.level[i]):.1f}" for i in known)
    yield f'<polyline points="{points}" fill="none" stroke="{INK}" stroke-width="1.4"/>'
    if watched.alarm:
        x = left + step * (watched.alarm - 0.5)
        yield f'<path d="M{x:.1f} {top}v{CURVE}" stroke="{ALARM}" stroke-width="2"/>'
    yield _words((left + right) / 2, top + CURVE + 14, "token", 10, anchor="middle", fill=GREY)


def _legend(y: float, dashed: bool) -> Iterator[str]:
    step, n = 9, 20
    for i in range(n):
        yield (
            f'<rect x="{MARGIN + step * i}" y="{y:.1f}" width="{step}" height="10" '
            f'fill="{colour((i + 0.5) / n)}"/>'
        )
    text = "share of safe answers that never get as dangerous, 0 to 1"
    text += "; dashed: where the alarm is raised" if dashed else ""
    yield _words(MARGIN + step * n + 8, y + 9, text, 10, fill=GREY)
