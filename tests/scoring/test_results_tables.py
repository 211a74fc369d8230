"""Scores, tables, verify.csv, results and traces on the committed ledger and a small world."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from tests.small import SmallWorld
from trustllm_repro.analysis.defects import DEFECTS
from trustllm_repro.data.published import published
from trustllm_repro.errors import ReproError
from trustllm_repro.paths import project_root
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.results import (
    TIDY,
    VERIFY,
    Results,
    latex_escape,
    load,
    number,
    verdict,
)
from trustllm_repro.scoring.run import Run, open_run, replay_ledger, replay_records, trace_result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = replay_ledger(tmp_path_factory.mktemp("run"))
    return made


def cell(run: Run, table: str, model: str, column: str, rule: str) -> pd.Series:
    c = run.cells
    mask = (c["table"] == table) & (c["model"] == model) & (c["column"] == column)
    return c[mask & (c["rule"] == rule)].iloc[0]


@pytest.mark.parametrize(
    ("value", "shown", "want"),
    [
        (0.5, 0.505, "reproduced"),
        (0.5, 0.5051, "near"),
        (0.5, 0.52, "near"),
        (0.5, 0.53, "differs"),
        (math.nan, 0.5, "not recorded"),
        (0.5, math.nan, "not published"),
    ],
)
def test_verdict(value, shown, want) -> None:
    assert verdict(value, shown) == want


# Facts established by hand from the records (inventory of the authors' files).
@pytest.mark.parametrize(
    ("table", "model", "column", "rule", "want"),
    [
        ("truth_internal", "gpt-4", "CODAH", "authors", 0.05),
        ("truth_internal", "gpt-4", "CODAH", "corrected", 0.91),
        ("truth_internal", "llama2-70b", "CODAH", "corrected", 0.76),
        ("truth_internal", "mistral-7b", "CODAH", "corrected", 0.48),
        ("truth_hallucination", "gpt-4", "KGD", "corrected", 0.86),
        ("truth_hallucination", "gpt-4", "QA", "corrected", 0.71),
        ("safety_misuse", "mistral-7b", "additional", "authors", 0.959),
        ("safety_misuse", "mistral-7b", "additional", "corrected", 0.422),
        ("safety_misuse", "mistral-7b", "overall", "corrected", 0.507),
        ("leaderboard_privacy", "gpt-4", "Privacy Leakage RtA", "toolkit", 0.408),
        ("leaderboard_privacy", "chatgpt", "Privacy Leakage TD", "toolkit", 0.300),
        ("leaderboard_privacy", "llama2-70b", "Privacy Leakage CD", "toolkit", 0.219),
        ("safety_exaggerated", "mistral-7b", "RtA", "toolkit", 0.54),
    ],
)
def test_known_values(run: Run, table, model, column, rule, want) -> None:
    assert cell(run, table, model, column, rule)["value"] == pytest.approx(want, abs=0.0006)


def test_verify_has_one_line_per_published_cell(run: Run) -> None:
    with open(run.path / "verify.csv", newline="", encoding="utf-8") as f:
        lines = [x for x in csv.DictReader(f) if x["rule"] == "authors"]
    assert list(lines[0]) == VERIFY
    keys = {(x["table"], x["row"], x["column"]) for x in lines}
    assert len(lines) == len(keys) == 2158
    assert keys == set(published().cells)
    for x in lines:
        assert (x["value"] == "") == (x["verdict"] == "not recorded")
        assert x["value"] or x["reason"]
        assert not x["value"] or int(x["n"]) > 0
        if x["value"]:
            assert x["verdict"] == verdict(float(x["value"]), float(x["published"]))


def test_no_value_is_ever_a_silent_zero(run: Run) -> None:
    c = run.cells
    assert (c["value"].isna() == (c["n"] == 0)).all()
    assert c.loc[c["value"].isna(), "reason"].str.len().gt(0).all()


def test_intervals_contain_their_value(run: Run) -> None:
    c = run.cells.dropna(subset=["value", "ci_low"])
    rates = c[(c["ci_low"] > c["value"] + 1e-9) | (c["ci_high"] < c["value"] - 1e-9)]
    # BCa corrects for bias, so an interval of an extreme value may lie to one side; shares may not.
    assert len(rates) / len(c) < 0.01


def test_tables_are_written_as_csv_and_latex(run: Run) -> None:
    for table in published().tables:
        with open(run.tables / f"{table}.csv", newline="", encoding="utf-8") as f:
            assert next(csv.reader(f)) == TIDY
        tex = (run.tables / f"{table}.tex").read_text(encoding="utf-8")
        assert tex.startswith("% ")
        assert "\\toprule" in tex or "no cell can be recomputed" in tex


def test_attack_types_need_all_16_models(run: Run) -> None:
    reason = cell(run, "safety_jailbreak_by_attack", "leetspeak", "overall", "authors")["reason"]
    for model in ("ernie", "wizardlm-13b", "llama2-7b", "bison-001"):
        assert model in reason


def test_results_have_names_texts_and_macros(run: Run) -> None:
    entries = load(run.path)
    assert entries["verify.cells"]["value"] == 2158
    assert entries["truth_internal/gpt-4/CODAH/corrected"]["text"] == "0.910"
    tex = (run.path / "results.tex").read_text(encoding="utf-8")
    assert "\\defineresult{verify.cells}{2158}" in tex
    assert json.loads((run.path / "provenance.json").read_text())["sources_sha256"]


def test_results_of_stages_are_merged(run: Run) -> None:
    extra = Results("99_test")
    extra.add("test.absent", math.nan, ".2f")
    extra.add("test.text", "50 % of {all}")
    extra.save(run.path)
    assert load(run.path)["test.absent"] == {"value": None, "text": "--", "cells": []}
    assert "50 \\% of \\{all\\}" in (run.path / "results.tex").read_text()
    assert "verify.cells" in load(run.path)


def test_trace_leads_to_the_rows(run: Run) -> None:
    text, cells = trace_result(run.path, "truth_internal/gpt-4/CODAH/corrected")
    assert text == "0.910"
    (rows,) = cells.values()
    assert len(rows) == 100
    assert (rows["label"] == rows["gold"]).sum() == 91
    assert rows["path"].str.contains("gpt-4").all()
    with pytest.raises(ReproError, match="did you mean"):
        trace_result(run.path, "truth_internal/gpt-4/CODA/corrected")


def test_trace_of_a_mean_over_a_column_with_a_slash(run: Run) -> None:
    name = "fairness_preference_plain/gpt-4/lifestyle/culture/authors"
    (rows,) = trace_result(run.path, name)[1].values()
    assert len(rows) == 80


def test_trace_of_a_claim_leads_to_the_rows_of_every_model(run: Run) -> None:
    claim = Results("98_claim")
    claim.add("claim.X.p", 0.05, ".2f", [("safety_jailbreak_by_attack", "overall")])
    claim.add("attack", 0.5, ".2f", [("safety_jailbreak_by_attack", "leetspeak", "overall")])
    claim.save(run.path)
    assert len(trace_result(run.path, "claim.X.p")[1]) == 12
    cells = trace_result(run.path, "attack")[1]
    assert [len(rows) for rows in cells.values()] == [100] * 12


def test_the_numbers_in_the_readme_are_those_of_the_committed_ledger(run: Run) -> None:
    text = (project_root() / "README.md").read_text(encoding="utf-8")
    entries = load(run.path)
    done, same = (entries[f"verify.{n}"]["value"] for n in ("recomputed", "reproduced"))
    assert f"allow {done} to be recomputed" in " ".join(text.split())
    assert f"{same} of them agree within 0.005" in " ".join(text.split())
    assert f"proves {len(DEFECTS)} defects" in " ".join(text.split())


def test_an_unknown_model_gets_rows_without_published_numbers(world: SmallWorld, tmp_path) -> None:
    run, recorded = replay_records(world.records, world.benchmark, tmp_path / "out", verify=False)
    assert "newcomer-1b" in recorded.models
    line = cell(run, "safety_misuse", "newcomer-1b", "overall", "authors")
    assert line["verdict"] == "not published"
    assert line["value"] == 0.5
    assert line["n"] == 90
    verify = pd.read_csv(run.path / "verify.csv")
    assert "newcomer-1b" not in set(verify["row"])


def test_a_missing_run_stands_on_the_committed_ledger(tmp_path: Path) -> None:
    run = open_run(tmp_path / "new")
    assert Rule.AUTHORS in set(run.cells["rule"])


def test_number_and_escape() -> None:
    assert number(math.nan) == "–"
    assert number(0.12345) == "0.123"
    assert latex_escape(r"\input{x} 5%_#&$^~") == (
        r"\textbackslash{}input\{x\} 5\%\_\#\&\$\textasciicircum{}\textasciitilde{}"
    )
