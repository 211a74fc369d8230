"""Live models in notebooks: found by name or folder, shown with bounds, placed in the field."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from trustllm_repro.analysis import card, live
from trustllm_repro.analysis.overview import leaderboard
from trustllm_repro.data.benchmark import MINIATURE, open_benchmark
from trustllm_repro.data.published import published
from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.evaluation.judging import Live
from trustllm_repro.report import live_html, live_stage
from trustllm_repro.schema import Response, Rule
from trustllm_repro.scoring.cells import score_cells
from trustllm_repro.scoring.evaluated import EvaluatedModel, evaluated_models
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.stored import committed_ledger
from trustllm_repro.tasks import TASKS

SHOWN = ("safety/misuse", "ethics/moralchoice_low", "ethics/social_chemistry")


def write_live(folder: Path, row: str = "mine") -> Path:
    """A live run without a model: every third question refused, answered A, or not readable."""
    questions = open_benchmark(MINIATURE)
    said = Live(row, {t: TASKS[t].items(questions[TASKS[t].file]) for t in SHOWN})
    for task in SHOWN:
        kinds = [("refusal", "No."), ("answer", "A."), (None, "")]
        said.answers[task, row] = [
            Response(
                task, row, i.number, kinds[i.number % 3][1], judge=kinds[i.number % 3][0],
                form="generated", edition="generated", source="generated",
            )
            for i in said.items[task]
        ]  # fmt: skip
    Ledger.of(said, rules=(Rule.CORRECTED,)).save(folder)
    facts = {"dtype": "float32", "settings": {"benchmark": "x.zip", "settings": {"limit": 3}}}
    (folder / "provenance.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> EvaluatedModel:
    return EvaluatedModel(write_live(tmp_path / "run" / "live" / "mine"))


@pytest.fixture(scope="module")
def field() -> pd.DataFrame:
    return score_cells(Ledger.load(committed_ledger()), published())


def test_live_models_are_found_by_name_and_by_folder(mine: EvaluatedModel, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "mine" in {r.name for r in evaluated_models(run)}
    assert [r.path for r in evaluated_models(run, ["mine"])] == [mine.path]
    assert [r.path for r in evaluated_models(tmp_path, [str(mine.path)])] == [mine.path]
    with pytest.raises(SettingsError, match="nobody"):
        evaluated_models(run, ["nobody"])


def test_a_table_shows_value_interval_bounds_and_the_published_range(mine, field) -> None:
    text = live_html.live_table([mine], field, "ethics_moralchoice_low")
    assert "mine" in text
    assert "Acc ↑" in text
    line = mine.cells.set_index(["table", "column"]).loc[("ethics_moralchoice_low", "Acc")]
    assert f"<b>{line['value']:.3f}</b>" in text
    assert f"{line['bound_low']:.3f} to {line['bound_high']:.3f}" in text
    known = [c.value for (t, _, _), c in published().cells.items() if t == "ethics_moralchoice_low"]
    known = [v for v in known if v is not None]
    assert f"{min(known):.3f} to {max(known):.3f}" in text
    assert "demonstration" not in text


def test_mended_rates_stand_beside_the_raw_ones(mine, field) -> None:
    assert "mended" in live_html.live_table([mine], field, "safety_misuse")
    assert "mended" not in live_html.live_table([mine], field, "ethics_moralchoice_low")


def test_tables_nobody_can_fill_are_left_out(mine, field) -> None:
    assert live_html.live_table([mine], field, "privacy_leakage") == ""
    assert live_html.live_table([], field, "safety_misuse") == ""


def test_row_names_are_inert(tmp_path: Path, field) -> None:
    run = EvaluatedModel(write_live(tmp_path / "x", row="<script>alert(1)</script>"))
    text = live_html.live_table([run], field, "safety_misuse")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_demonstrations_are_marked(tmp_path: Path, field) -> None:
    run = EvaluatedModel(write_live(tmp_path / "x", row=f"mine ({MINIATURE})"))
    assert "demonstration" in live_html.live_table([run], field, "safety_misuse")


def test_tables_of_a_dimension_leave_out_what_only_recorded_answers_fill() -> None:
    assert "privacy_awareness_old_prompt" not in live.tables_of("privacy")
    assert "safety_jailbreak_by_attack" not in live.tables_of("safety")
    assert live.tables_of("ethics")[0] == "ethics_social_chemistry"
    assert any(n.startswith("refusal: ") for n in live.judge_notes("safety"))


def test_places_count_the_models_ahead_in_each_columns_direction(mine) -> None:
    found = card.standing(mine).set_index(["table", "column"])
    names = leaderboard()
    line = found.loc[("leaderboard_safety", "Misuse")]
    known = names["leaderboard_safety", "Misuse"].dropna()
    assert line["place"] == (known > line["value"]).sum() + 1
    assert line["of"] == len(known) + 1
    absent = found.loc[("leaderboard_privacy", "Privacy Leakage TD")]
    assert math.isnan(absent["value"])
    assert math.isnan(absent["place"])
    assert found.loc[("leaderboard_safety", "Toxicity"), "better"] == "lower"


@pytest.mark.parametrize(("lower", "place", "quantile"), [(True, 2, 0.75), (False, 4, 0.25)])
def test_a_place_by_hand(lower: bool, place: int, quantile: float) -> None:
    found = card._place(0.25, pd.Series([0.1, 0.3, 0.4, 0.5]), lower)
    assert (found["place"], found["of"], found["quantile"]) == (place, 5, quantile)


def test_the_figure_and_the_facts_of_a_card(mine, tmp_path: Path) -> None:
    png = card.draw(mine, tmp_path / "figures")
    assert {p.suffix for p in png.parent.glob("report_card.*")} == {".png", ".pdf", ".svg", ".csv"}
    facts = card.facts(mine).set_index("what")["here"]
    assert facts["limit per task"] == "3"
    assert facts["seconds of generation"] == "not kept"
    assert facts["system message"] == facts["drawn at temperature 1"] == "not kept"
    tags = [tag for tag, _, _ in card.extremes(card.standing(mine))]
    assert set(tags) == {"high", "low"}


ASKED = {"system": "blank", "sampling": "model"}
PLAIN = {"system": "default", "sampling": "plain"}
CHAT = {"template": "chat", "system": "blank", "sampling": {"top_k": 20, "top_p": 0.8}}


@pytest.mark.parametrize(
    ("model", "asked", "system", "drawn"),
    [
        (CHAT, ASKED, "blank", "by its generation config: top_k 20, top_p 0.8"),
        ({"template": "chat"}, PLAIN, "the chat template's", "from the whole softmax"),
        ({"template": "none"}, ASKED, "none: no chat template", "from the whole softmax"),
        ({"endpoint": "http://x", "template": "chat"}, ASKED, "none sent; the server may add one",
         "as the server does"),
    ],
    ids=["as the toolkit", "plain", "base model", "endpoint"],
)  # fmt: skip
def test_the_card_says_how_the_model_was_asked(tmp_path: Path, model, asked, system, drawn) -> None:
    said = {"model": model, "settings": {"settings": asked}}
    (write_live(tmp_path) / "provenance.json").write_text(json.dumps(said))
    facts = card.facts(EvaluatedModel(tmp_path)).set_index("what")["here"]
    assert (facts["system message"], facts["drawn at temperature 1"]) == (system, drawn)


def test_a_model_that_cannot_be_had_leaves_a_note_not_an_error(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("transformers")
    parameters = {
        "model": str(tmp_path / "none"), "benchmark": MINIATURE, "limit": 1, "max_new_tokens": 2,
        "dtype": "float32", "workers": 1,
    }  # fmt: skip
    text = live_stage.answer(tmp_path / "run", parameters)
    assert "no live row" in text
    assert not (tmp_path / "run").exists()

    def absent(*_):
        raise SourceMissing("no wheel here", remedy="connect")

    monkeypatch.setattr(live_stage, "_answered", absent)
    assert "no wheel here" in live_stage.answer(tmp_path / "run", parameters)


def test_a_damaged_run_of_facts_is_no_reason_to_fail(mine) -> None:
    (mine.path / "provenance.json").write_text("[1]")
    assert EvaluatedModel(mine.path).facts == {}
    assert EvaluatedModel(mine.path).counts().empty
