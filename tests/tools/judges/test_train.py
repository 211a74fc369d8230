"""Training from end to end on made-up answers; the committed files against the shared sources."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tests.faults.world import ITC, QBB, TOXICITY, World, answer, read
from tests.tools.judges.test_training_data import HUMAN, zipped
from tools.judges import fit, train, train_refusal
from tools.judges.card import card
from tools.judges.training_data import (
    PYRIT,
    Examples,
    refusal_examples,
    unfounded,
    unreadable,
)
from trustllm_repro.judges.learned import (
    Recipe,
    RefusalJudge,
    ToxicityJudge,
    View,
    lengths,
    load_weights,
)
from trustllm_repro.paths import data_dir
from trustllm_repro.store.archive import Archive

MEASURED = {"refusal", "sources_sha256", "toxicity"}
FILES = ("refusal.safetensors", "toxicity.safetensors", "manifest.json", "README.md")
# What the sources of the committed weights are called in the shared folder.
SHARED = {"records": "trustllm-recorded.zip", "benchmark": "trustllm-dataset.zip"}


def teach(world: World) -> None:
    """Answers that refuse say so, and answers with bad words have high scores."""
    rng = random.Random(4)
    nouns = ["garden", "kitchen", "river", "bicycle", "library", "window", "market", "forest"]
    for model in world.models:
        lines = ["res,label,type,toxicity"]
        for form, kind in ((ITC, "toxicity"), (QBB, "jailbreak")):
            path, rows = world.record(form, model), []
            for i, row in enumerate(read(world.record(form, model))):
                refused, awful = i % 2 == 0, i % 3 == 0
                start = "Sorry, I cannot" if refused else "Gladly. One can"
                end = "what an awful mess" if awful else "how nice"
                text = f"{start} paint the {rng.choice(nouns)} of {model}, {kind} {i}; {end}"
                rows.append(answer(row, text, refused))
                lines.append(f'"{text}",{row["label"][0]},{kind},{0.8 if awful else 0.1}')
            path.write_text(json.dumps(rows), encoding="utf-8")
        target = world.record(TOXICITY, model)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def words(tmp_path: Path, monkeypatch) -> list[str]:
    """Arguments of a small training, without the output folders."""
    world = World(tmp_path / "world")
    teach(world)
    views = (View("all", "word", (1, 2)), View("char", "character", (3, 3), counts=True))
    monkeypatch.setattr(fit, "REFUSAL_RECIPE", Recipe(views, bits=10))
    monkeypatch.setattr(fit, "TOXICITY_RECIPE", Recipe(views, bits=10))
    # The made-up benchmark does not have the official hashes.
    unverified = functools.partial(train.load_benchmark, verify=False)
    monkeypatch.setattr(train, "load_benchmark", unverified)
    lexicon = "awful\t-2.0\t1\t[]\nnice\t1.8\t1\t[]\n"
    vader = zipped(tmp_path / "v.whl", {"vaderSentiment/vader_lexicon.txt": lexicon})
    members = {PYRIT + n: HUMAN for n in ("refusal.csv", "refusal_extra.csv")}
    pyrit = zipped(tmp_path / "p.whl", members)
    return ["--records", str(world.records), "--benchmark", str(world.benchmark),
            "--vader", str(vader.path), "--pyrit", str(pyrit.path)]  # fmt: skip


def run(words: list[str], out: Path) -> tuple[int, dict[str, Any]]:
    code = train.main([*words, "--out", str(out), "--measurements", str(out / "m")])
    path = out / "m" / "judges.json"
    return code, json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def test_from_answers_to_judges(words: list[str], tmp_path: Path, capsys) -> None:
    code, found = run(words, tmp_path / "one")
    assert code == 0
    assert set(found) == MEASURED
    assert "refusal without gpt-4" in capsys.readouterr().err
    refusal = RefusalJudge(load_weights("refusal", tmp_path / "one"))
    p = refusal.scores(["Sorry, I cannot paint it", "Gladly. One can paint it"])
    assert p[0] > 0.5 > p[1]
    toxicity = ToxicityJudge(load_weights("toxicity", tmp_path / "one"))
    scores = toxicity.scores(["what an awful mess", "how nice"])
    assert scores[0] > scores[1]
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sources_sha256"] == found["sources_sha256"]
    assert set(found["sources_sha256"]) == {"records", "benchmark", "vader", "pyrit"}
    text = (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    assert text == card(found, manifest["files"])


def test_the_same_answers_give_the_same_bytes(words: list[str], tmp_path: Path) -> None:
    run(words, tmp_path / "one")
    run(words, tmp_path / "two")
    for name in (*FILES, "m/judges.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_counts_add_up(words: list[str], tmp_path: Path) -> None:
    found = run(words, tmp_path / "one")[1]["refusal"]
    whole = found["overall"]["all"]["judge"]
    for name in ("tp", "fp", "fn", "tn"):
        parts = [t[name] for models in found["by_task_and_model"].values() for t in models.values()]
        assert sum(parts) == whole[name]
        assert sum(g["judge"][name] for g in found["by_task"].values()) == whole[name]
        assert sum(g["judge"][name] for g in found["by_model"].values()) == whole[name]
    assert whole["n"] == found["training_answers"]
    assert set(found["unsure"]) == set(found["by_model"])


def test_without_human_labels(words: list[str], tmp_path: Path) -> None:
    code, found = run(words[:-2], tmp_path / "one")
    assert code == 0
    assert "human_labels" not in found["refusal"]
    assert "pyrit" not in found["sources_sha256"]


def test_a_source_that_is_not_there(words: list[str], tmp_path: Path, capsys) -> None:
    code, found = run([*words[:-1], str(tmp_path / "none.whl")], tmp_path / "one")
    assert code == 1
    assert "none.whl" in capsys.readouterr().err
    assert found == {}


EVERYWHERE = np.ones(3, bool)


def learned_from(monkeypatch, lesson: train_refusal.Lesson) -> list[set[float]]:
    """First numbers of the rows that each line of three answers by three models was fitted to."""
    seen: list[set[float]] = []
    monkeypatch.setattr(
        fit, "fit_logistic",
        lambda rows: seen.append(set(rows.extra[:, 0])) or fit.Line(
            np.zeros(rows.x.shape[1]), np.zeros(1), 0.0),
    )  # fmt: skip
    examples = Examples(["a", "b", "c"], ["t"] * 3, ["m", "n", "o"], np.array([0.0, 1.0, 1.0]))
    p = lesson.left_out(examples, rows_of(1.0, 2.0, 3.0), lambda line: None)
    assert p.tolist() == [0.5] * 3
    return seen


def rows_of(*first: float) -> fit.Rows:
    n = len(first)
    return fit.Rows(sparse.csr_matrix((n, 4)), np.array(first)[:, None], np.zeros(n), np.ones(n))


def test_a_model_left_out_is_not_learned_from(monkeypatch) -> None:
    """What the held-out model says never reaches the line that judges it."""
    lesson = train_refusal.Lesson("all", EVERYWHERE)
    assert learned_from(monkeypatch, lesson) == [{2.0, 3.0}, {1.0, 3.0}, {1.0, 2.0}]


def test_doubted_labels_are_not_learned_from_and_sentences_always_are(monkeypatch) -> None:
    lesson = train_refusal.Lesson("some", np.array([True, False, True]), rows_of(7.0))
    assert learned_from(monkeypatch, lesson) == [{3.0, 7.0}, {1.0, 3.0, 7.0}, {1.0, 7.0}]


def test_a_judge_may_be_trained_alone(words: list[str], tmp_path: Path) -> None:
    """The other one stays as it is, to the byte."""
    out = tmp_path / "one"
    run(words, out)
    files = {n: (out / n).read_bytes() for n in (*FILES, "m/judges.json")}
    for name in train.JUDGES:
        (out / f"{name}.safetensors").write_bytes(b"")
        code, _ = run([*words, "--only", name], out)
        assert code == 0
        assert {n: (out / n).read_bytes() for n in files} == files


def test_a_judge_alone_needs_the_other_from_the_same_sources(
    words: list[str], tmp_path: Path, capsys
) -> None:
    alone = [*words, "--only", "refusal"]
    assert run(alone, tmp_path / "one")[0] == 1
    assert "nothing to keep" in capsys.readouterr().err
    run(words, tmp_path / "one")
    assert run([*words[:-2], "--only", "refusal"], tmp_path / "one")[0] == 1
    assert "other sources" in capsys.readouterr().err


def test_comparison_counts_the_labels_that_are_not_believed() -> None:
    """Four answers of one model: one in Chinese, one that chooses, two plain ones."""
    texts = ["我不能这样做", "A. I stay", "I cannot", "Here it is"]
    tasks = ["safety/misuse", "fairness/preference", "safety/misuse", "safety/misuse"]
    examples = Examples(texts, tasks, ["m"] * 4, np.array([0.0, 1.0, 1.0, 0.0]))
    doubts = {"Chinese or Japanese": unreadable(texts), "choices": unfounded(examples)}
    p = {"before": np.array([0.0, 1.0, 1.0, 0.0]), "after": np.array([1.0, 0.0, 1.0, 0.0])}
    found = train_refusal.compared(examples, p, doubts)
    assert found["m"] == found["all"]
    assert {name: one["n"] for name, one in found["all"].items()} == {
        "all": 4, "without Chinese or Japanese": 3, "without tasks of choices": 3,
        "without both": 2, "believed": 2,
    }  # fmt: skip
    assert found["all"]["all"] == {"n": 4, "before": 1.0, "after": 0.0}
    assert found["all"]["believed"] == {"n": 2, "before": 1.0, "after": 1.0}
    assert train_refusal.doubted(examples, doubts["Chinese or Japanese"], p["after"]) == {
        "answers": 1, "recorded_refusals": 0, "with_phrase": 1,
        "judged_refusals": 1, "judged_refusals_with_phrase": 1,
    }  # fmt: skip


def test_traits_and_certainty() -> None:
    texts = ["", "一二三", '{"a": 1}', "word " * 50, "word " * 200, "word " * 400]
    masks = train_refusal.traits(texts, lengths(texts))
    assert masks["empty"].tolist() == [True] + [False] * 5
    assert [m.sum() for n, m in masks.items() if "words" in n] == [2, 1, 1, 1]
    bands = train_refusal.sureness(np.array([0.5, 0.1, 0.96, 1.0, 0.005]))
    assert [m.sum() for m in bands.values()] == [1, 1, 1, 2]


# --- the committed files --------------------------------------------------------------------------


def committed() -> dict[str, Any]:
    path = data_dir() / "measurements" / "judges.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.shared
def test_the_sources_are_the_ones_named(shared: Path) -> None:
    known = committed()["sources_sha256"]
    for name, file in SHARED.items():
        assert Archive(shared / "data" / file).digest() == known[name]


@pytest.mark.shared
def test_the_committed_weights_agree_with_the_recorded_labels(shared: Path, recorded) -> None:
    """They have seen these answers, so this says that files and code fit together, no more."""
    archive = Archive(shared / "data" / SHARED["records"])
    examples = refusal_examples(recorded, archive)
    assert len(examples.texts) == committed()["refusal"]["recorded_answers"]
    at = random.Random(1).sample(range(len(examples.texts)), 400)
    p = RefusalJudge().scores([examples.texts[i] for i in at])
    assert ((p > 0.5) == (examples.targets[at] > 0.5)).mean() > 0.95
