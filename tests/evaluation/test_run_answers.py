"""From the official package's answers to a row under two rules, without a model."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

pytest.importorskip("transformers")

from tests.faults.world import cli, refused, snapshot
from tests.notes import Notes
from tests.official import new_layout, old_layout, questions
from trustllm_repro.cli import app
from trustllm_repro.data.benchmark import FILES
from trustllm_repro.errors import SettingsError
from trustllm_repro.evaluation.generate import EvaluationConfig, Settings
from trustllm_repro.evaluation.judging import with_labels
from trustllm_repro.evaluation.run import evaluate_answers, headline
from trustllm_repro.judges.judge import Judgement
from trustllm_repro.progress import Progress
from trustllm_repro.schema import Item, Response, Rule
from trustllm_repro.scoring.run import EvaluatedModel, Run

MISUSE, EXAGGERATED = "safety/misuse", "safety/exaggerated_safety"
NAMES = [n for n in FILES if n.split("/")[0] in ("safety", "ethics")]
ROW = "mine-7b (miniature)"


UNLABELLED = 3  # rows of misuse without a label


def read(
    root: Path, out: Path, *dimensions: str, name: str = "", progress: Progress = Progress()
) -> EvaluatedModel:
    config = EvaluationConfig(name, "miniature", out, Settings(dimensions))
    return evaluate_answers(root, config, progress)


def without_labels_of_misuse(name: str, rows: list) -> list:
    """Misuse lacks a few labels; one answer is null and one row is missing."""
    if name == MISUSE:
        for row in rows[:UNLABELLED]:
            del row["eval_res"]
        rows[3]["res"] = None
        return rows[:-1]
    return rows


@pytest.fixture(scope="module")
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, notes: Notes) -> EvaluatedModel:
    root = tmp_path_factory.mktemp("given")
    new_layout(root / "runs", names=NAMES, change=without_labels_of_misuse)
    return read(root / "runs", root / "out", progress=notes)


def cells(done: EvaluatedModel, rule: Rule) -> pd.DataFrame:
    every = Run(done.path).cells
    mine = every[every["model"].isin(done.ledger.models) & (every["rule"] == rule)]
    return mine.set_index(["table", "column"])


def test_both_rules_stand_beside_the_published_models(done: EvaluatedModel) -> None:
    assert done.rows == [ROW]
    everything = Run(done.path).cells
    for rule in (Rule.CORRECTED, Rule.TOOLKIT):
        models = set(everything.loc[everything["rule"] == rule, "model"])
        assert {ROW, "gpt-4", "llama2-7b"} <= models
    table = pd.read_csv(done.tables / "safety_exaggerated.csv")
    assert set(table.loc[table["model"] == ROW, "rule"]) == {"corrected", "toolkit"}


def test_kept_labels_are_the_value_under_both_rules(done: EvaluatedModel) -> None:
    n = len(questions(EXAGGERATED))
    refusals = sum(i % 2 == 0 for i in range(n)) / n  # LABEL_0 stands on every other row
    key = ("leaderboard_safety", "Exaggerated Safety")
    corrected = cells(done, Rule.CORRECTED).loc[key]
    assert corrected["value"] == pytest.approx(refusals)
    assert (corrected["n"], corrected["n_unparsed"]) == (n, 0)
    assert pd.isna(corrected["judge_corrected"])  # our judge's errors are not that of the paper's
    theirs = cells(done, Rule.TOOLKIT).loc[key, "value"]
    assert theirs in (pytest.approx(refusals), pytest.approx(1 - refusals))


def test_a_task_that_lacks_a_label_is_judged_by_ours_and_empty_under_toolkit(
    done: EvaluatedModel,
) -> None:
    key = ("leaderboard_safety", "Misuse")
    corrected = cells(done, Rule.CORRECTED).loc[key]
    n = len(questions(MISUSE))
    assert corrected["n"] == n - 2
    assert corrected["n_missing"] == 2  # a null answer and an item without a row
    assert corrected["ci_low"] < corrected["ci_high"]
    theirs = cells(done, Rule.TOOLKIT)
    assert key not in theirs.index or pd.isna(theirs.loc[key, "value"])


def test_toolkit_reads_what_needs_no_judge(done: EvaluatedModel) -> None:
    theirs = cells(done, Rule.TOOLKIT)["value"].dropna().index
    assert ("leaderboard_ethics", "MoralChoice Acc") in theirs
    assert not [t for t, _ in theirs if "toxicity" in t]


def test_counts_and_provenance(done: EvaluatedModel, notes: Notes) -> None:
    counts = pd.read_csv(done.path / "answers.csv").set_index("task")
    misuse = counts.loc["safety/misuse"]
    n = len(questions(MISUSE))
    assert (misuse["items"], misuse["answers"], misuse["null"], misuse["missing"]) == (
        n, n - 2, 1, 1,
    )  # fmt: skip
    facts = json.loads((done.path / "provenance.json").read_text())
    kept = n - 2 - UNLABELLED
    assert facts["kept_labels"]["safety/misuse"] == misuse["labels_kept"] == kept
    assert facts["judges"]["safety/misuse"].startswith(f"{kept} labels of LibrAI/longformer")
    assert f"{UNLABELLED} answers by refusal (" in facts["judges"]["safety/misuse"]
    assert "answers by" not in facts["judges"]["safety/exaggerated_safety"]
    assert facts["settings"]["answers"] == "runs"  # a name, no path of this machine
    listed = json.loads((done.path / "answers.json").read_text())
    assert listed["files"]["api-safety/misuse.json"]["null"] == 1
    assert "/somewhere/private" not in json.dumps(listed)
    assert "null: 1" in notes.told[-1]
    assert f"labels kept: {sum(facts['kept_labels'].values())}" in notes.told[-1]


def test_nothing_written_holds_an_answer(done: EvaluatedModel) -> None:
    files = [p for p in done.path.rglob("*") if p.is_file() and p.suffix != ".parquet"]
    assert files
    assert not [p for p in files if "Reply 1 to" in p.read_text(encoding="utf-8")]
    ledger = pd.read_parquet(done.path / "ledger.parquet")
    assert not ledger["label"].astype(str).str.contains("Reply").any()


def test_the_old_layout_gives_the_same_cells(done: EvaluatedModel, tmp_path: Path) -> None:
    root = old_layout(tmp_path / "old", names=NAMES, change=without_labels_of_misuse)
    again = read(root, tmp_path / "out")
    columns = ["value", "n", "n_missing"]
    for rule in (Rule.CORRECTED, Rule.TOOLKIT):
        pd.testing.assert_frame_equal(*(cells(run, rule)[columns] for run in (done, again)))


def test_the_run_reads_like_a_live_one(done: EvaluatedModel) -> None:
    shown = done.cells.set_index(["table", "column"])
    ours = cells(done, Rule.CORRECTED)
    key = ("leaderboard_safety", "Exaggerated Safety")
    assert shown.loc[key, "value"] == pytest.approx(ours.loc[key, "value"])
    assert pd.isna(shown.loc[key, "judge_corrected"])


def test_the_headline_shows_the_official_value_beside_ours(done: EvaluatedModel) -> None:
    found = headline(done).query("column == 'MoralChoice Acc'").set_index("rule")["value"]
    for rule in (Rule.CORRECTED, Rule.TOOLKIT):
        assert (
            found[rule] == cells(done, rule).loc[("leaderboard_ethics", "MoralChoice Acc"), "value"]
        )


def test_one_dimension_of_the_answers(tmp_path: Path) -> None:
    root = old_layout(tmp_path / "given", names=[MISUSE, "ethics/implicit_ETHICS"])
    found = read(root, tmp_path / "out", "ethics")
    assert {t.split("_")[0] for t in found.cells["table"]} == {"ethics", "leaderboard"}
    with pytest.raises(SettingsError, match="no answers in privacy"):
        read(root, tmp_path / "none", "privacy")
    with pytest.raises(SettingsError, match="unknown dimension"):
        read(root, tmp_path / "none", "luck")
    assert not (tmp_path / "none").exists()


class Always:
    """A judge that counts what it is asked."""

    name, digest = "always", "0"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, items, responses) -> list[Judgement]:
        self.asked += [r.number for r in responses]
        return [Judgement("refusal", unsure=True) for _ in responses]


def test_a_label_that_is_there_is_not_judged_again() -> None:
    judge, items = Always(), [Item("t", i, "p") for i in range(3)]
    answers = [Response("t", "m", i, "x", judge="answer" if i == 1 else None) for i in range(3)]
    found, unsure = with_labels(judge, items, answers)
    assert [r.judge for r in found] == ["refusal", "answer", "refusal"]
    assert (unsure, judge.asked) == (2, [0, 2])
    assert with_labels(judge, items[1:2], answers[1:2]) == (answers[1:2], 0)
    assert judge.asked == [0, 2]


@pytest.mark.parametrize("more", [[], ["--model", "smollm2-135m", "--answers", "x"]])
def test_exactly_one_of_model_and_answers(more: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = refused(cli("evaluate", "--benchmark", "miniature", "--out", out, *more))
    assert "one of --model and --answers" in message
    assert not out.exists()


def invoked(out: Path, *words: str) -> BaseException | None:
    """What `evaluate` ends in, in this process."""
    given = ["evaluate", "--benchmark", "miniature", "--out", str(out), *words]
    return CliRunner().invoke(app, given).exception


@pytest.mark.parametrize(
    "words",
    [
        ["--limit", "2"], ["--dtype", "float32"], ["--batch-size", "1"], ["--device", "cpu"],
        ["--max-new-tokens", "9"], ["--samples", "2"], ["--seed", "0"], ["--workers", "1"],
        ["--no-likelihood"], ["--likelihood"], ["--system", "blank"], ["--sampling", "plain"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_options_of_asking_are_refused_for_answers_that_are_there(
    words: list[str], tmp_path: Path
) -> None:
    """A default that is spelled out, too: it would say how answers came about that exist already."""
    root = old_layout(tmp_path / "given", names=[MISUSE])
    error = invoked(tmp_path / "out", "--answers", str(root), *words)
    assert isinstance(error, SettingsError)
    assert words[0] in error.problem
    assert "--model" in error.problem
    assert "leave that out" in error.remedy
    assert not (tmp_path / "out").exists()


def test_all_idle_options_are_named_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = refused(
        cli("evaluate", "--answers", tmp_path, "--benchmark", "miniature", "--out", out,
            "--seed", "1", "--workers", "2")
    )  # fmt: skip
    assert "--seed, --workers: only for --model" in message


def test_a_name_of_the_row_is_refused_for_a_model_that_is_asked(tmp_path: Path) -> None:
    error = invoked(tmp_path / "out", "--model", str(tmp_path), "--model-name", "mine")
    assert isinstance(error, SettingsError)
    assert "--model-name: only for --answers" in error.problem
    assert "folder" in error.remedy


def test_a_folder_with_another_model_s_run_is_left_alone(tmp_path: Path) -> None:
    root = old_layout(tmp_path / "given", names=["ethics/implicit_ETHICS", MISUSE])
    out = tmp_path / "out"
    read(root, out, "ethics")
    before = snapshot(out)
    with pytest.raises(SettingsError, match="holds the run of 'mine-7b'") as caught:
        read(root, out, "safety", name="other")
    assert "another --out" in caught.value.remedy
    assert snapshot(out) == before
    again = read(root, out, "safety")
    assert again.rows == [ROW]
    assert json.loads((out / "provenance.json").read_text())["settings"]["dimensions"] == ["safety"]


def test_repeated_rows_are_told_apart_from_unknown_ones(tmp_path: Path) -> None:
    root = old_layout(tmp_path / "given", names=[MISUSE], change=lambda n, rows: [*rows, rows[0]])
    read(root, tmp_path / "out", progress=(said := Notes()))
    assert "unmatched: 0, repeated: 1" in said.told[-1]
    (listed,) = json.loads((tmp_path / "out" / "answers.json").read_text())["files"].values()
    assert (listed["repeated"], listed["unmatched"]) == ([len(questions(MISUSE))], [])


def test_the_command_names_the_malformed_file(tmp_path: Path) -> None:
    root = old_layout(tmp_path / "given", names=[MISUSE])
    path = root / "generation_results/mine-7b/safety/misuse.json"
    path.write_text(path.read_text()[:-3], encoding="utf-8")
    out = tmp_path / "out"
    message = refused(cli("evaluate", "--answers", root, "--benchmark", "miniature", "--out", out))
    assert "safety/misuse.json" in message
    assert not out.exists()


@pytest.mark.shared
def test_llama3_70b_by_the_files_of_the_official_repository(shared: Path, tmp_path: Path) -> None:
    """Our refusal judge and the recorded answers meet two cells that need the paper's judge."""
    benchmark = str(shared / "data/trustllm-dataset.zip")
    config = EvaluationConfig("", benchmark, tmp_path / "out", Settings(("fairness",)))
    found = evaluate_answers(shared / "data/trustllm-later-answers.zip", config, Progress())
    assert found.rows == ["llama3-70b (this run)"]
    ours = cells(found, Rule.CORRECTED).loc["leaderboard_fairness"]
    assert ours.loc["Stereotype Query Test", "value"] == pytest.approx(1.0, abs=0.02)
    agreed = ours.loc["Overall Agreement Rate"]
    assert 0 <= agreed["bound_low"] <= agreed["value"] <= agreed["bound_high"] < 0.1
    published = Run(found.path).cells.set_index(["table", "column", "model", "rule"])["published"]
    key = ("leaderboard_fairness", "Overall Agreement Rate", "llama3-70b", "corrected")
    assert published[key] == pytest.approx(0.068)
