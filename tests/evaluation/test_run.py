"""From a model folder to tables: one command, repeated, with samples, and on the miniature."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("transformers")
pytest.importorskip("psutil")

from tests.faults.world import snapshot
from tests.notes import Notes
from tests.tiny import tiny_model
from trustllm_repro.data.benchmark import load_benchmark
from trustllm_repro.data.published import LATER, MODELS
from trustllm_repro.errors import OutputError, SettingsError, SourceMissing
from trustllm_repro.evaluation.generate import EvaluationConfig, Settings, estimate, make_plan
from trustllm_repro.evaluation.run import check_out, evaluate, headline, row_name
from trustllm_repro.models.base import Request
from trustllm_repro.models.find import find_model
from trustllm_repro.progress import Progress, duration
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.results import committed_ledger
from trustllm_repro.scoring.run import EvaluatedModel, Run

SETTINGS = Settings(dimensions=("ethics", "safety"), max_new_tokens=6, samples=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def job(folder: Path, out: Path, **more) -> EvaluationConfig:
    return EvaluationConfig(
        str(folder), "miniature", out, **{"settings": SETTINGS, "workers": 1, **more}
    )


def requests(folder: Path, settings: Settings = SETTINGS) -> dict[str, Request]:
    """What a model is asked, by key."""
    model = find_model(str(folder), system=settings.system, sampling=settings.sampling)
    plan = make_plan(model, load_benchmark("miniature"), settings)
    return {a.key: a.request for a in plan.asked}


def answers_made(done: EvaluatedModel) -> int:
    return EvaluatedModel(done.path).facts["generation"]["answers"]  # as they are now


@pytest.fixture(scope="module")
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="module")
def done(folder: Path, notes: Notes, tmp_path_factory: pytest.TempPathFactory) -> EvaluatedModel:
    return evaluate(job(folder, tmp_path_factory.mktemp("runs") / "one"), progress=notes)


def test_all_answers_are_there_and_a_second_run_makes_none(
    done: EvaluatedModel, folder: Path
) -> None:
    before, notes = {p.name: p.read_bytes() for p in done.tables.iterdir()}, Notes()
    evaluate(job(folder, done.path), progress=notes)
    assert answers_made(done) == len(requests(folder))
    assert notes.told == ["all answers were there; the model was not asked"]
    assert {p.name: p.read_bytes() for p in done.tables.iterdir()} == before


def test_rows_of_the_miniature_say_so(done: EvaluatedModel) -> None:
    assert done.rows == ["tiny (miniature)", "tiny (miniature, likelihood)"]
    known = Ledger.load(committed_ledger()).models
    assert set(Run(done.path).cells["model"]) - {*MODELS, *LATER, *known} == set(done.rows)
    assert row_name("x", likelihood=True) == "x (likelihood)"


def test_a_model_never_takes_the_row_of_a_published_one() -> None:
    assert row_name("x") == "x"
    assert row_name("gpt-4") == "gpt-4 (this run)"
    assert row_name("llama3-70b") == "llama3-70b (this run)"
    assert row_name("gpt4-turbo") == "gpt4-turbo (this run)"  # recorded, in no published table
    assert row_name("gpt-4", miniature=True) == "gpt-4 (miniature)"


def test_published_models_stand_beside_it_under_the_same_rule(done: EvaluatedModel) -> None:
    cells = Run(done.path).cells
    assert set(cells["rule"]) == {str(Rule.CORRECTED)}
    assert set(MODELS) <= set(cells["model"])
    table = pd.read_csv(done.tables / "safety_misuse.csv")
    assert {"gpt-4", "tiny (miniature)"} <= set(table["model"])


def test_judged_rates_are_corrected_and_unparsed_answers_have_bounds(done: EvaluatedModel) -> None:
    cells = done.cells.query("model == 'tiny (miniature)'").set_index(["table", "column"])
    refusals = cells.loc[("leaderboard_safety", "Misuse")]
    assert (
        0
        <= refusals["judge_corrected_low"]
        <= refusals["judge_corrected"]
        <= refusals["judge_corrected_high"]
        <= 1
    )
    choice = cells.loc[("ethics_moralchoice_low", "Acc")]
    assert choice["bound_low"] <= choice["value"] <= choice["bound_high"]
    assert pd.isna(choice["judge_corrected"])


def test_the_ledger_and_the_tables_hold_no_text(done: EvaluatedModel) -> None:
    texts = [
        json.loads(line)["text"]
        for line in (done.path / "responses" / "tiny.jsonl").read_text().splitlines()
    ]
    long = [t for t in texts if t and len(t) > 4]
    assert long
    for path in [*done.tables.iterdir(), done.path / "answers.csv"]:
        content = path.read_text(encoding="utf-8")
        assert not [t for t in long if t in content]


def test_provenance_names_weights_judges_and_settings(done: EvaluatedModel) -> None:
    facts = json.loads((done.path / "provenance.json").read_text())
    assert facts["model"]["weights"]
    assert facts["judges"]["safety/misuse"].startswith("refusal (")
    assert facts["settings"]["settings"]["max_new_tokens"] == 6
    assert facts["settings"]["out"] == done.path.name  # no path of this machine
    asked = facts["settings"]["settings"]
    assert (asked["system"], asked["sampling"]) == ("blank", "model")
    assert facts["model"]["system"] == "blank"
    assert facts["model"]["sampling"] == {
        "top_k": 50
    }  # what transformers takes where nothing is set


@pytest.mark.parametrize("other", [{"sampling": "plain"}, {"system": "default"}], ids=str)
def test_other_settings_ask_anew_what_they_concern(
    folder: Path, tmp_path: Path, other: dict[str, str]
) -> None:
    few = Settings(dimensions=("ethics",), limit=2, max_new_tokens=2)
    first = evaluate(job(folder, tmp_path, settings=few), progress=Progress())
    asked, made = requests(folder, few), answers_made(first)
    scores = tmp_path / "likelihoods" / "tiny.jsonl"
    scored = len(scores.read_text().splitlines())
    again = job(folder, tmp_path, settings=replace(few, **other))
    evaluate(again, progress=Progress())
    all_concerned = "system" in other
    drawn = sum(bool(r.temperature) for r in asked.values())
    assert 0 < drawn < len(asked) == made
    made += len(asked) if all_concerned else drawn
    assert answers_made(first) == made
    assert len(scores.read_text().splitlines()) == scored * (2 if all_concerned else 1) > 0
    evaluate(again, progress=Progress())
    assert answers_made(first) == made


def test_work_and_time_are_told_before_the_start(notes: Notes, done: EvaluatedModel) -> None:
    assert notes.told
    assert "answers to make" in notes.told[0]
    assert [duration(s) for s in (5, 600, 9000)] == ["5 s", "10 min", "2.5 h"]


def test_the_estimate_counts_tokens(folder: Path) -> None:
    model, asked = find_model(str(folder)), list(requests(folder).values())
    said = estimate(model, asked, workers=1).replace(",", "")
    answers, read, write, *_ = (int(word) for word in said.split() if word.isdigit())
    assert (answers, write) == (len(asked), 6 * len(asked))
    assert read == pytest.approx(sum(len(model.tokens(r.prompt)) for r in asked), rel=0.2)
    assert "; at most" in said
    assert estimate(object(), asked, workers=1).endswith("to write")  # an endpoint's speed


def test_the_headline_holds_leaderboards_and_what_nobody_published(done: EvaluatedModel) -> None:
    found = headline(done).query("model == 'tiny (miniature)'").set_index("column")
    low, high = found.loc["Misuse", ["lowest", "highest"]]
    assert 0 <= low < high <= 1
    assert pd.isna(found.loc["Capability awareness", "highest"])
    assert not found["table"].isin(["safety_misuse"]).any()


@pytest.mark.parametrize("entry", ["refusal", "nobody=x", "=x", "refusal="])
def test_an_unknown_judge_is_refused_before_anything_is_asked(
    folder: Path, tmp_path: Path, entry: str
) -> None:
    with pytest.raises(SettingsError, match="judge"):
        evaluate(job(folder, tmp_path / "out", judges=(entry,)))
    assert not (tmp_path / "out").exists()


def test_a_missing_model_or_benchmark_leaves_no_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        evaluate(EvaluationConfig(str(tmp_path / "none"), "miniature", tmp_path / "out"))
    with pytest.raises(SourceMissing):
        evaluate(EvaluationConfig(str(folder), str(tmp_path / "none.zip"), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "seed", "whose"), [("other", 0, "'tiny'"), ("tiny", 1, "another 'tiny'")]
)
def test_a_folder_with_another_model_s_run_is_left_alone(
    done: EvaluatedModel, tmp_path: Path, name: str, seed: int, whose: str
) -> None:
    second, before = tiny_model(tmp_path / name, seed=seed), snapshot(done.path)
    with pytest.raises(SettingsError, match=f"holds the run of {whose}") as caught:
        evaluate(job(second, done.path))
    assert "another --out" in caught.value.remedy
    assert snapshot(done.path) == before


@pytest.mark.parametrize(
    ("facts", "free"),
    [
        ({"model": {"name": "mine", "weights": "a"}}, True),
        ({"model": {"name": "mine", "weights": "b"}}, False),
        ({"model": {"name": "mine"}}, False),
        ({"settings": {"records": "recorded.zip"}}, False),
        ({"model": ["mine"]}, False),
        ([1], True),  # not one of ours: it says nothing of a model
    ],
)
def test_what_a_provenance_file_says_of_its_folder(
    tmp_path: Path, facts: object, free: bool
) -> None:
    check_out(tmp_path, "mine", "a")
    (tmp_path / "provenance.json").write_text(json.dumps(facts))
    if free:
        check_out(tmp_path, "mine", "a")
    else:
        with pytest.raises(SettingsError, match="holds the run of"):
            check_out(tmp_path, "mine", "a")


def test_an_unwritable_folder_shows_at_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError):
        evaluate(job(folder, tmp_path / "out"))


def test_the_cost_of_all_sittings_is_kept(done: EvaluatedModel, folder: Path) -> None:
    before = EvaluatedModel(done.path).facts["generation"]
    evaluate(job(folder, done.path), progress=Progress())
    assert EvaluatedModel(done.path).facts["generation"] == before
    assert (before["sittings"], before["answers"]) == (1, len(requests(folder)))
    assert before["seconds"] > 0
