"""Hand-made cases: the committed figures come from the committed cases and judges."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from tools.judges import checks
from trustllm_repro.errors import SchemaError, SourceMissing
from trustllm_repro.paths import data_dir

MINILM = "MiniLM"


def committed() -> dict[str, Any]:
    path = data_dir() / "measurements" / "judge_checks.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_committed_figures_are_reproduced() -> None:
    known = committed()
    known["correctness"].pop(MINILM)
    assert checks.measure() == known


def test_the_figure_of_the_embedder_rests_on_the_same_cases() -> None:
    found = committed()["correctness"][MINILM]
    assert found["n"] == len(checks.rows("correctness"))
    assert found["tp"] + found["fn"] == sum(c["label"] == "yes" for c in checks.rows("correctness"))


@pytest.mark.parametrize(
    ("name", "least"), [("correctness", 60), ("correction", 40), ("agreement", 40)]
)
def test_there_are_cases_of_every_label_and_none_twice(name: str, least: int) -> None:
    cases = checks.rows(name)
    assert len(cases) >= least
    assert set(Counter(c["label"] for c in cases)) == set(checks.LABELS[name])
    assert len({tuple(c.items()) for c in cases}) == len(cases)
    assert all(c["kind"] and c["answer"] for c in cases)


def test_three_labels_as_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    labels = checks.LABELS["agreement"]
    cases = [{"label": str(x), "kind": "k"} for x in rng.choice(labels, 90)]
    said = [c["label"] if rng.random() < 0.6 else str(rng.choice(labels)) for c in cases]
    found = checks.three_way(cases, said, labels)
    truth = [c["label"] for c in cases]
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(truth, said), abs=1e-4)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said), abs=1e-4)
    table = [[found["confusion"][t][s] for s in labels] for t in labels]
    assert table == metrics.confusion_matrix(truth, said, labels=list(labels)).tolist()


def test_right_labels_by_kind() -> None:
    cases = [{"label": "yes", "kind": k} for k in ("a", "b", "a")]
    assert checks.by_kind(cases, ["yes", "no", "no"]) == {"a": [1, 2], "b": [0, 1]}


def test_an_embedder_adds_its_own_line() -> None:
    cases = [
        {"question": "q", "reference": "x", "answer": "x", "label": "yes", "kind": "k"},
        {"question": "q", "reference": "x", "answer": "y", "label": "no", "kind": "k"},
    ]

    def embed(texts):
        return np.array([[1.0, 0.0] if t == "x" else [0.0, 1.0] for t in texts])

    found = checks.correctness(cases, embed)
    assert found[MINILM] == ["yes", "no"]
    assert MINILM not in checks.correctness(cases)


def write(folder: Path, text: str) -> Path:
    (folder / "agreement.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "text",
    ["kind,answer,label\na,b,maybe\n", "kind,answer\na,b\n", "kind,answer,label\na,b,agree,c\n"],
)
def test_bad_cases_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(SchemaError, match=r"agreement\.csv, row 0"):
        checks.rows("agreement", write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"agreement\.csv") as caught:
        checks.rows("agreement", tmp_path)
    assert "git checkout" in caught.value.remedy


def test_the_command_writes_the_figures(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    assert checks.main(["--out", str(out)]) == 0
    assert json.loads(out.read_text(encoding="utf-8")) == checks.measure()


def test_the_files_hold_no_line_breaks_within_fields() -> None:
    """One case a line, so that a reader can see what changed in a diff."""
    for name in checks.LABELS:
        path = data_dir() / "judges" / "checks" / f"{name}.csv"
        with open(path, newline="", encoding="utf-8") as f:
            assert len(list(csv.reader(f))) == len(path.read_text(encoding="utf-8").splitlines())
