"""25_watch: what is drawn is XML whatever the model says, and a headless page needs no widget."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from trustllm_repro.online.watching import Watched
from trustllm_repro.report import watch_desk
from trustllm_repro.report.watch import COLUMNS, _laid_out, cells, colour, svg
from trustllm_repro.report.watch_desk import Desk, attended

SVG = "{http://www.w3.org/2000/svg}"


def answer(pieces, levels=None, alarm: int = 0, prompt: str = "Why?", **more) -> Watched:
    level = np.full(len(pieces), 0.5) if levels is None else np.array(levels, dtype=float)
    return Watched(prompt, tuple(pieces), level, level, alarm, **{"limit": 0.95, **more})


def drawn(watched: Watched) -> ElementTree.Element:
    return ElementTree.fromstring(svg(watched, "a model, watched by: a monitor", 0.05))


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "]]>", "a & b", '" onload="x', "\x00\x1b[31m", "\u202eabc", "\ud800",
     "\ufffe", "🙂", "\n\n", "&#0;", "</text></svg>", "a\tb", "\u2028"],
)  # fmt: skip
def test_no_text_becomes_markup(text: str) -> None:
    root = drawn(answer([text, "end"], prompt=text))
    assert {e.tag.removeprefix(SVG) for e in root.iter()} <= {
        "svg", "title", "rect", "text", "g", "path", "polyline",
    }  # fmt: skip
    names = {name for e in root.iter() for name in e.attrib}
    assert not any(name.startswith("on") or "href" in name for name in names)
    words = "".join(e.text or "" for e in root.iter(f"{SVG}text"))
    assert not {"\u202e", "\x00", "\x1b", "\ufffe"} & set(words)


@given(st.lists(st.text(max_size=30), max_size=20), st.text(max_size=200))
def test_anything_is_drawn(pieces, prompt) -> None:
    drawn(answer(pieces, prompt=prompt))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), max_size=8))
def test_no_piece_leaves_its_line_and_none_is_lost(pieces) -> None:
    found = list(_laid_out(pieces))
    assert all(p.column + cells(p.text) <= COLUMNS for p in found)
    assert [p.token for p in found] == sorted(p.token for p in found)
    for i, piece in enumerate(pieces):
        kept = "".join(p.text for p in found if p.token == i)
        assert "".join(kept.split()) == "".join(piece.split())


def test_the_alarm_is_marked_and_what_follows_is_pale() -> None:
    root = drawn(answer(["One", " two", " three"], [0.2, 0.97, 0.3], alarm=2))
    pale = [e.attrib["opacity"] for e in root.iter(f"{SVG}g")]
    assert pale == ["1", "1", "0.35"]
    words = [e.text for e in root.iter(f"{SVG}text")]
    assert "alarm after 2 of 3 tokens (5% false alarms allowed)" in words
    underlined = [len(list(g.iter(f"{SVG}path"))) for g in root.iter(f"{SVG}g")]
    assert underlined == [0, 1, 0]


@pytest.mark.parametrize(
    ("watched", "says"),
    [
        (answer([]), "no alarm in 0 tokens (5% false alarms allowed)"),
        (answer(["x"], [np.nan], limit=np.nan, reason="too few"), "no alarm can be set: too few"),
    ],
)
def test_nothing_known_is_said(watched, says: str) -> None:
    assert says in [e.text for e in drawn(watched).iter(f"{SVG}text")]


def test_darker_is_more_dangerous_and_unknown_is_white() -> None:
    def light(level: float) -> float:
        return sum(int(colour(level)[i : i + 2], 16) for i in (1, 3, 5))

    assert colour(np.nan) == "#ffffff"
    found = [light(x) for x in np.linspace(0, 1, 9)]
    assert found == sorted(found, reverse=True)


PARAMETERS = {
    "model": "none", "task": "harm", "monitor": "average entropy", "risk": 0.05, "prompt": "Hi",
    "max_new_tokens": 5, "dtype": "float32", "device": "cpu", "interactive": "auto",
}  # fmt: skip


def test_what_cannot_be_watched_is_said_on_the_page(tmp_path) -> None:
    page = Desk(tmp_path, PARAMETERS | {"model": str(tmp_path / "none")}).page()
    assert "none" in page
    assert "<svg" not in page


def test_a_widget_only_where_somebody_sits(monkeypatch) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delenv("VSCODE_PID", raising=False)
    assert not attended("auto")
    monkeypatch.setenv("JPY_SESSION_NAME", "25_watch.ipynb")
    assert attended("auto")
    assert attended("yes")
    assert not attended("no")


def test_the_button_watches_what_was_typed(tmp_path, monkeypatch) -> None:
    asked = []

    def watch(self, prompt, monitor, risk, say=None):
        asked.append((prompt, monitor, risk))
        say(answer(["so"], prompt=prompt))
        if prompt == "bad":
            raise watch_desk.ReproError("no", remedy="another")
        return answer(["so far"], prompt=prompt)

    monkeypatch.setattr(Desk, "watch", watch)
    box = Desk(tmp_path, PARAMETERS).widget()
    prompt, (monitor, risk, button), out = (
        box.children[0],
        box.children[1].children,
        box.children[2],
    )
    prompt.value, monitor.value, risk.value = "<b>", "maximum entropy", 0.1
    button.click()
    assert asked == [("<b>", "maximum entropy", 0.1)]
    assert "so far" in out.value
    assert "&lt;b&gt;" in out.value
    assert not button.disabled
    prompt.value = "bad"
    button.click()
    assert "another" in out.value
    assert not button.disabled
