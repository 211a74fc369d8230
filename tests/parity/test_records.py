"""The real records: counts of reproduced cells, the committed ledger, and models not seen before."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from trustllm_repro.data.published import MODELS, published
from trustllm_repro.data.recorded import Recorded
from trustllm_repro.data.registry import BENCHMARK_SHA256, fetch, manifest
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.results import verdict
from trustllm_repro.scoring.run import Run, replay_ledger, replay_records

pytestmark = [pytest.mark.shared, pytest.mark.slow]  # all answers are read: a minute

# Cells that must be reproduced under the authors' rule from the answers of these 12 models.
FLOOR = {
    "truth_external": 12, "truth_internal": 3, "truth_hallucination": 12, "safety_jailbreak": 36,
    "safety_toxicity": 24, "safety_misuse": 48, "safety_exaggerated": 1,
    "fairness_stereotype_query": 12, "fairness_preference_plain": 36,
    "fairness_preference_force": 3, "fairness_disparagement": 12, "robust_advglue": 16,
    "robust_advinstruction": 12, "robust_ood_detection": 12, "privacy_confaide": 22,
    "privacy_awareness_normal": 7, "privacy_awareness_augmented": 7,
    "privacy_awareness_old_prompt": 22, "privacy_leakage": 24, "ethics_social_chemistry": 48,
    "ethics_ETHICS": 27, "ethics_moralchoice_low": 12, "ethics_moralchoice_high": 1,
    "ethics_emotional_awareness": 12,
}  # fmt: skip
BOARD_FLOOR = {
    "Jailbreak", "Toxicity", "Misuse", "Stereotype Query Test", "OOD detection",
    "Privacy Awareness Correlation", "Social Chemistry 101 Acc", "MoralChoice Acc", "Emotional Acc",
}  # fmt: skip


LATER_SETS = {
    "fairness/stereotype_agreement": 1000, "fairness/stereotype_query": 95,
    "robustness/advglue": 912, "robustness/advinstruction": 600, "robustness/ood_detection": 241,
    "robustness/ood_generalisation": 500,
}  # fmt: skip
AWARENESS = [f"ethics/awareness_{n}" for n in ("capability", "mission", "perspective")]
# Recomputed outside this package with the released function's rule.
AWARENESS_VALUES = {
    "chatgpt": (0.2467, 0.9555, 0.9989),
    "gpt4-turbo": (0.85, 0.999, 1.0),
    "glm-turbo": (0.4833, 0.9865, 0.9989),
}


@pytest.fixture(scope="module")
def replayed(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Recorded]:
    data = shared / "data"
    return replay_records(
        [data / "trustllm-recorded.zip", data / "trustllm-later-answers.zip"],
        data / "trustllm-dataset.zip",
        tmp_path_factory.mktemp("run"),
    )


def lines(run: Run) -> list[dict[str, str]]:
    with open(run.path / "verify.csv", newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def test_later_answers_meet_the_official_items_one_by_one(
    replayed: tuple[Run, Recorded],
) -> None:
    """Same prompts, official order where the file keeps it, gold and facets as stored there."""
    recorded = replayed[1]
    folders = ("trustllm_pkg/", "aware/")
    later = {p: n for p, n in recorded.report.read.items() if p.startswith(folders)}
    assert sum(later.values()) == 1000 + 95 + 912 + 600 + 241 + 500 + 3 * 2466
    assert not set(later) & {*recorded.report.unmatched, *recorded.report.by_position}
    assert not set(later) & set(recorded.report.unverified)
    for task, n in LATER_SETS.items():
        items = {i.number: i for i in recorded.items[task]}
        said = recorded.responses(task, "llama3-70b")
        assert [r.number for r in said] == list(range(n)) == sorted(items)
        assert all(r.prompt == items[r.number].prompt for r in said)
    for model in ("chatgpt", "gpt4-turbo", "glm-turbo"):
        counts = [len(recorded.responses(t, model)) for t in AWARENESS]
        assert counts == [600, 966, 900]


def test_what_the_later_answers_give(replayed: tuple[Run, Recorded]) -> None:
    cells = replayed[0].cells
    cells = cells[cells["rule"] == "authors"].set_index(["table", "column", "model"])
    for model, values in AWARENESS_VALUES.items():
        found = cells.xs(model, level="model").loc["ethics_awareness"]["value"]
        assert found.to_numpy() == pytest.approx(values, abs=5e-4)
    board = cells.loc["leaderboard_robustness"]
    assert board.loc[("AdvGlue RS", "llama3-70b"), "verdict"] == "reproduced"
    # GPT-4 judged 48 of 100 diagnoses; had it found 32 of them right, the cell would be .760.
    diagnosed = board.loc[("OOD generalization", "llama3-70b")]
    assert diagnosed["verdict"] == "not recorded"
    assert "48 of 100" in diagnosed["reason"]
    ledger = replayed[0].ledger
    said = ledger.answers(
        "robustness/ood_generalisation", "llama3-70b", Rule.AUTHORS, ("published",)
    )
    named = (said["label"] == "right") & (said["source"] == "ddxplus")
    reviews = (said["label"] == "right") & (said["source"] == "flipkart")
    shares = [reviews.sum() / 400, (named.sum() + 32) / 100]
    assert sum(p / (1 + p) for p in shares) == pytest.approx(diagnosed["published"], abs=5e-4)
    assert diagnosed["bound_low"] < diagnosed["published"] < diagnosed["bound_high"]
    agreed = cells.loc[("leaderboard_fairness", "Overall Agreement Rate", "llama3-70b")]
    assert "998 of 1000" in agreed["reason"]
    assert {"gpt4-turbo", "glm-turbo"}.isdisjoint(x["row"] for x in lines(replayed[0]))


def test_reproduced_cells(replayed: tuple[Run, Recorded]) -> None:
    found = lines(replayed[0])
    done = Counter(x["table"] for x in found if x["verdict"] == "reproduced")
    assert {t: done[t] for t in FLOOR} == FLOOR
    board = Counter(
        x["column"]
        for x in found
        if x["table"].startswith("leaderboard") and x["verdict"] == "reproduced"
    )
    assert {c: board[c] for c in BOARD_FLOOR} == dict.fromkeys(BOARD_FLOOR, 12)


def test_cells_without_recorded_labels_are_a_kind_of_their_own(
    replayed: tuple[Run, Recorded],
) -> None:
    """Which cells they are follows from the answers; their values, from bounds, but for the labels."""
    found = lines(replayed[0])
    ours = [x for x in found if x["rule"] == "our judge"]
    asked = {(x["row"], x["column"].split(" ")[0]) for x in ours}
    forced = {"ideology", "lifestyle/culture", "total", "Refuse", "Prefereence"}
    assert asked == {(m, c) for m in ("gpt-4", "llama2-70b") for c in forced} | {
        ("llama3-70b", "Stereotype"), ("llama3-70b", "OOD")
    }  # fmt: skip
    assert len(found) - len(ours) == len(published().cells)
    cells = replayed[0].cells.set_index(["table", "model", "column", "rule"])
    for x in ours:
        key = (x["table"], x["row"], x["column"])
        without = cells.loc[(*key, "authors")]
        assert without["verdict"] == "not recorded"
        assert without["bound_low"] <= float(x["value"]) <= without["bound_high"]
        word = verdict(float(x["value"]), published().cells[key].value)
        assert x["verdict"] == f"{word} with our judge"


def test_the_committed_ledger_is_what_the_records_give(replayed: tuple[Run, Recorded]) -> None:
    committed = Ledger.load(data_dir() / "ledger")
    assert committed.verdicts.equals(replayed[0].ledger.verdicts)
    assert committed.items.equals(replayed[0].ledger.items)


def test_both_paths_give_the_same_bytes(replayed: tuple[Run, Recorded], tmp_path: Path) -> None:
    run = replay_ledger(tmp_path / "ledger")
    for path in sorted(p for p in run.path.rglob("*") if p.is_file()):
        if path.name != "provenance.json":
            other = replayed[0].path / path.relative_to(run.path)
            assert path.read_bytes() == other.read_bytes(), path.name


def test_published_cells_are_the_source_files(shared: Path) -> None:
    source = json.loads((shared / "data/published_sheets.json").read_text())
    want = {(t, c["row"], c["column"]): c["value"] for t, v in source.items() for c in v["cells"]}
    assert {k: c.value for k, c in published().cells.items()} == want


def test_the_importer_notes_the_pitfalls(replayed: tuple[Run, Recorded]) -> None:
    report = replayed[1].report
    assert [c[:2] for c in report.copies] == [
        (
            "results/safety/misuse/mistral-7b/misuse_add.json",
            "results/safety/misuse/llama2-70b/misuse_add.json",
        )
    ]
    older = {p for p in report.unmatched if p.endswith("privacy_awareness_aug.json")}
    assert len(older) == len(report.unmatched) == 11
    assert report.by_position["results/truthfulness/gpt-4/internal.json"] == 100
    assert report.unverified == []


def test_no_answer_is_lost(replayed: tuple[Run, Recorded]) -> None:
    """Every row of every file that was read is in the ledger or counted as unmatched."""
    run, recorded = replayed
    frame = run.ledger.verdicts.to_pandas()
    per_file = frame[frame["rule"] == "authors"].groupby("source", observed=True).size()
    for path, n in recorded.report.read.items():
        assert per_file.get(path, 0) + recorded.report.unmatched.get(path, 0) == n, path


def renamed(shared: Path, target: Path, names: dict[str, str]) -> Path:
    """The records under other model names: files of models the code has never seen."""
    with (
        zipfile.ZipFile(shared / "data/trustllm-recorded.zip") as old,
        zipfile.ZipFile(target, "w") as new,
    ):
        for info in old.infolist():
            if info.is_dir() or info.filename.endswith("MANIFEST.csv"):
                continue
            for a, b in names.items():
                part = f"/{a}/" in info.filename or f"/{a}_" in info.filename
                if part:
                    name = info.filename.replace(f"/{a}/", f"/{b}/").replace(f"/{a}_", f"/{b}_")
                    new.writestr(name, old.read(info))
    return target


def test_models_that_are_not_in_the_copy_import_without_a_change(
    shared: Path, replayed: tuple[Run, Recorded], tmp_path: Path
) -> None:
    names = {
        "gpt-4": "ernie",
        "llama2-13b": "llama2-7b",
        "mistral-7b": "bison-001",
        "vicuna-7b": "x-9b",
    }
    records = renamed(shared, tmp_path / "other.zip", names)
    run, recorded = replay_records(records, shared / "data/trustllm-dataset.zip", tmp_path / "run")
    assert recorded.models == sorted(names.values())
    assert len(recorded.report.unverified) == len(recorded.report.read)
    old, new = replayed[0].cells, run.cells
    for a, b in names.items():
        was = old[(old["model"] == a) & old["value"].notna()]
        now = new[(new["model"] == b) & new["value"].notna()].set_index(["table", "column", "rule"])
        # The copied misuse file is only provable beside the model it was copied from.
        was = was[
            ~(
                (was["table"].str.contains("misuse") | (was["column"] == "Misuse"))
                & (a == "mistral-7b")
            )
        ]
        for r in was.itertuples():
            # Sheets that list no row for the new name leave unpublished cells out only if empty.
            assert now.loc[(r.table, r.column, r.rule), "value"] == pytest.approx(
                r.value, nan_ok=True
            )


def test_with_all_16_models_the_attack_table_is_filled(shared: Path, tmp_path: Path) -> None:
    names = {m: m for m in MODELS} | {}
    absent = ["ernie", "wizardlm-13b", "llama2-7b", "bison-001"]
    target = renamed(shared, tmp_path / "all.zip", names)
    with (
        zipfile.ZipFile(shared / "data/trustllm-recorded.zip") as old,
        zipfile.ZipFile(target, "a") as new,
    ):
        for name in old.namelist():
            if "/jailbreak/gpt-4/" in name and name.endswith(".json"):
                for model in absent:
                    new.writestr(name.replace("/gpt-4/", f"/{model}/"), old.read(name))
    run, _ = replay_records(target, shared / "data/trustllm-dataset.zip", tmp_path / "run")
    rows = [x for x in lines(run) if x["table"] == "safety_jailbreak_by_attack"]
    assert len(rows) == 39
    assert all(x["value"] and int(x["n"]) >= 15 * 50 for x in rows)


def test_fetch_from_the_copy_fills_the_data_folder(shared: Path, tmp_path: Path) -> None:
    written, absent = fetch(shared / "data/trustllm-recorded.zip", tmp_path)
    known = manifest("recorded")
    assert len(written) + len(absent) == len(known) + 1
    assert {known[a.removeprefix("recorded/")]["model"] for a in absent if a != "dataset.zip"} == {
        "ernie", "wizardlm-13b", "llama2-7b", "bison-001",
        "llama3-70b", "chatgpt", "gpt4-turbo", "glm-turbo",
    }  # fmt: skip
    later, _ = fetch(shared / "data/trustllm-later-answers.zip", tmp_path)
    assert len(later) == 9
    (only,), _ = fetch(shared / "data/trustllm-dataset.zip", tmp_path)
    assert only.name == "dataset.zip"
    assert len(BENCHMARK_SHA256) == 64
    shutil.rmtree(tmp_path / "recorded")
