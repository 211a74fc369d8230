"""The manuscript quotes only what a run gives, and its tables are inert."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.notebooks.cells import run_cells
from tools.paper import online_table, write_paper_inputs
from trustllm_repro.paths import project_root
from trustllm_repro.scoring.results import load
from trustllm_repro.scoring.run import Run

TEX = project_root() / "paper" / "main.tex"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What the notebooks 00, 16 and 17 store."""
    folder = str(tmp_path_factory.mktemp("run"))
    run_cells("00_provenance", run_dir=folder, source="ledger")
    run_cells("16_overview", run_dir=folder, resamples=100)
    run_cells("17_audit", run_dir=folder)
    return Run(Path(folder))


def prose() -> str:
    """main.tex without comments, preamble and bibliography."""
    text = "\n".join(
        x for x in TEX.read_text(encoding="utf-8").splitlines() if not x.startswith("%")
    )
    return text.split(r"\begin{document}")[1].split(r"\begin{thebibliography}")[0]


@pytest.mark.slow
def test_every_quoted_result_exists(run: Run) -> None:
    quoted = set(re.findall(r"\\result\{([^}]*)\}", " ".join(prose().split())))
    assert len(quoted) > 25
    assert sorted(quoted - set(load(run.path))) == []


def test_no_number_is_written_by_hand() -> None:
    text = re.sub(
        r"\\(?:result|input|includegraphics|cite|ref|label|begin|end)(?:\[[^\]]*\])?\{[^}]*\}",
        "",
        prose(),
    )
    text = re.sub(r"[\d.]+(?:pt|\\linewidth)", "", text)
    text = re.sub(r"\(A\d+\)", "", text)  # names of defects
    text = re.sub(r"GPT-4|Llama2-70b|Mistral-7b|2p/\(1\+p\)", "", text)  # names and a formula
    assert re.findall(r"\d[\d.,]*", text) == []


@pytest.mark.slow
def test_tables_are_written_and_complete(run: Run) -> None:
    paths = {p.stem: p.read_text(encoding="utf-8") for p in write_paper_inputs(run)}
    assert set(paths) == {"dimensions", "claims", "defects", "changes", "online"}
    for name in paths:
        assert f"\\input{{\\run/paper/{name}.tex}}" in TEX.read_text(encoding="utf-8")
    entries = load(run.path)
    assert paths["claims"].count(r"\\") == entries["claims.all"]["value"] + 1
    assert paths["defects"].count(r"\\") == entries["audit.count"]["value"] + 1
    assert f"all & {entries['verify.reproduced']['value']} &" in paths["dimensions"]


def test_claims_of_the_online_study_have_a_column_a_study(tmp_path) -> None:
    run = Run(tmp_path)
    assert online_table(run).startswith("%")
    (tmp_path / "tables").mkdir()
    mine = pd.DataFrame(
        {
            "id": ["C1", "C2"],
            "claim": ["a", "b"],
            "verdict": ["yes", "no"],
            "placebo": ["no", "open"],
        }
    )
    mine.to_csv(tmp_path / "tables" / "online_claims.csv", index=False)
    assert r"C1 & a & yes & no \\" in online_table(run)
    mine.iloc[:1].to_csv(tmp_path / "tables" / "larger_study_claims.csv", index=False)
    both = online_table(run)
    assert (
        r" & claim & this run & this run, placebo & larger study & larger study, placebo \\" in both
    )
    assert r"C2 & b & no & open & -- & -- \\" in both
