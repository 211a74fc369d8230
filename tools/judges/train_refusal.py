"""Fits the refusal judge and measures it on models it did not learn from.

It learns from the recorded labels that can be believed and from the sentences of judges.sentences.
Labels of two kinds are neither taught nor counted in the main figures, since they were given
without reading what the answer says: those of answers in Chinese or Japanese, and refusals without
any phrase of refusal where a choice was asked for. `compared` counts them as well, beside a judge
that learned from the recorded labels alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.judges import agreement, fit
from tools.judges.sentences import REFUSAL, figures, sentences
from tools.judges.training_data import (
    CHOICES,
    Examples,
    human_labels,
    unfounded,
    unreadable,
)
from trustllm_repro.judges.judge import is_unsure
from trustllm_repro.judges.learned import (
    HAN,
    LENGTHS,
    Weights,
    has_phrase,
    lengths,
    refuses_by_keyword,
    sigmoid,
    vectorise,
    words,
)
from trustllm_repro.store.archive import Archive

Say = Callable[[str], None]
_NO_KNOTS = np.zeros((2, 0))


@dataclass(frozen=True)
class Made:
    """Weights of one judge and what was measured of it."""

    weights: Weights
    measured: dict[str, Any]


@dataclass(frozen=True)
class Lesson:
    """What a refusal judge learns from: some recorded answers, and some sentences.

    Attributes:
        name: said while it is learned.
        among: recorded answers, shape (n,) bool.
        beside: further rows; None for none.
    """

    name: str
    among: np.ndarray
    beside: fit.Rows | None = None

    def fitted(self, examples: Examples, rows: fit.Rows, tested: np.ndarray) -> fit.Line:
        """A line that saw no answer that is tested, nor its text elsewhere."""
        chosen = rows[examples.training(tested, self.among)]
        return fit.fit_logistic(chosen + self.beside if self.beside else chosen)

    def left_out(self, examples: Examples, rows: fit.Rows, say: Say) -> np.ndarray:
        """Probability of refusal of every answer, by a line that saw no answer of its model."""
        p = np.zeros(len(examples.texts))
        for model, tested in examples.folds():
            say(f"refusal without {model}, from {self.name}")
            line = self.fitted(examples, rows, tested)
            p[tested] = sigmoid(line(rows.x[tested], rows.extra[tested]))
        return p

    def weights(self, examples: Examples, rows: fit.Rows) -> Weights:
        """Of a line that saw all models."""
        line = self.fitted(examples, rows, np.zeros(len(examples.texts), bool))
        recipe = fit.REFUSAL_RECIPE
        return Weights(recipe, line.hashed, line.dense, line.bias, {}, _NO_KNOTS)


def as_rows(texts: list[str], targets: np.ndarray, counts: np.ndarray | None = None) -> fit.Rows:
    """Features of texts; each counts as one answer where `counts` is None."""
    x, extra = vectorise(texts, fit.REFUSAL_RECIPE), lengths(texts)
    return fit.Rows(x, extra, targets, np.ones(len(texts)) if counts is None else counts)


def written() -> fit.Rows:
    """The training sentences as rows."""
    found = sentences("training")
    targets = np.array([float(s["label"] == REFUSAL) for s in found])
    counts = np.array([fit.SENTENCE_COUNTS[s["language"]] for s in found])
    return as_rows([s["text"] for s in found], targets, counts)


def refusal(examples: Examples, say: Say) -> Made:
    """The refusal judge, and its agreement with the recorded labels on unseen models."""
    rows = as_rows(examples.texts, examples.targets)
    doubts = {"Chinese or Japanese": unreadable(examples.texts),
              "choices": unfounded(examples)}  # fmt: skip
    lessons = {
        "before": Lesson("recorded labels", np.ones(len(examples.texts), bool)),
        "after": Lesson("believed labels and sentences", ~np.any([*doubts.values()], 0), written()),
    }
    p = {name: lesson.left_out(examples, rows, say) for name, lesson in lessons.items()}
    measured = agreements(examples, rows.extra, p["after"], lessons["after"].among)
    measured["doubted"] = {n: doubted(examples, m, p["after"]) for n, m in doubts.items()}
    measured["compared"] = compared(examples, p, doubts)
    say("refusal on all models")
    weights = {name: lesson.weights(examples, rows) for name, lesson in lessons.items()}
    tests = sentences("test")
    stored = {n: Weights.of(fit.tensors(w), w.recipe) for n, w in weights.items()}
    said = {n: sigmoid(w.sums([s["text"] for s in tests])) > 0.5 for n, w in stored.items()}
    measured["sentences"] = figures(tests, said)
    measured["sentences_taught"] = len(sentences("training"))
    return Made(weights["after"], measured)


def agreements(
    examples: Examples, extra: np.ndarray, p: np.ndarray, believed: np.ndarray
) -> dict[str, Any]:
    """Agreement with the believed labels by several groupings, of the judge and the keyword list.

    Args:
        extra: `lengths` of the texts. p: probabilities of refusal.
        believed: labels to count. All three: a row an answer.
    """
    truth = examples.targets > 0.5
    keyword = np.array([refuses_by_keyword(t) for t in examples.texts])
    models, tasks = agreement.groups(examples.models), agreement.groups(examples.tasks)
    by = {
        "overall": {"all": np.ones(len(truth), bool)},
        "by_task": tasks,
        "by_model": models,
        "by_kind_of_answer": traits(examples.texts, extra),
        "by_recorded_score": sureness(examples.targets),
    }
    texts = {t for t, taught in zip(examples.texts, believed, strict=True) if taught}
    measured: dict[str, Any] = {
        "recorded_answers": len(truth),
        "training_answers": int(believed.sum()),
        "texts": len(texts),
    }
    for name, masks in by.items():
        measured[name] = {
            g: {
                "judge": agreement.of_labels(truth[m], p[m] > 0.5, p[m]),
                "keywords": agreement.of_labels(truth[m], keyword[m]),
            }
            for g, mask in masks.items()
            if (m := mask & believed).any()
        }
    measured["unsure"] = {
        g: round(float(is_unsure(p[m]).mean()), 4)
        for g, mask in models.items()
        if (m := mask & believed).any()
    }
    measured["by_task_and_model"] = counts(tasks, models, truth, p > 0.5, believed)
    return measured


def counts(
    tasks: dict[str, np.ndarray],
    models: dict[str, np.ndarray],
    truth: np.ndarray,
    said: np.ndarray,
    believed: np.ndarray,
) -> dict[str, dict[str, dict[str, int]]]:
    """tp, fp, fn, tn per task and model: what corrects a rate that our judge read (judges.registry)."""
    names = ("tp", "fp", "fn", "tn")
    found: dict[str, dict[str, dict[str, int]]] = {}
    for task, in_task in tasks.items():
        found[task] = {}
        for model, of_model in models.items():
            mask = in_task & of_model & believed
            if mask.any():
                one = agreement.of_labels(truth[mask], said[mask])
                found[task][model] = {n: one[n] for n in names}
    return found


def doubted(examples: Examples, mask: np.ndarray, p: np.ndarray) -> dict[str, int]:
    """How many labels are not believed, and what the record, the keyword list and we say there."""
    phrase = np.array([has_phrase(t) for t in examples.texts])[mask]
    said = p[mask] > 0.5
    return {
        "answers": int(mask.sum()),
        "recorded_refusals": int((examples.targets[mask] > 0.5).sum()),
        "with_phrase": int(phrase.sum()),
        "judged_refusals": int(said.sum()),
        "judged_refusals_with_phrase": int((said & phrase).sum()),
    }


def compared(
    examples: Examples, p: dict[str, np.ndarray], doubts: dict[str, np.ndarray]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Kappa with the recorded labels before and after, over all models and by each left out."""
    readable = ~doubts["Chinese or Japanese"]
    open_ended = ~np.isin(examples.tasks, CHOICES)
    everywhere = np.ones(len(readable), bool)
    answers = {
        "all": everywhere,
        "without Chinese or Japanese": readable,
        "without tasks of choices": open_ended,
        "without both": readable & open_ended,
        "believed": ~np.any([*doubts.values()], 0),
    }
    truth = examples.targets > 0.5
    return {
        group: {
            name: {"n": int((m := mask & some).sum())}
            | {n: agreement.of_labels(truth[m], one[m] > 0.5)["kappa"] for n, one in p.items()}
            for name, some in answers.items()
        }
        for group, mask in ({"all": everywhere} | agreement.groups(examples.models)).items()
    }


def traits(texts: list[str], extra: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of answers that are hard to judge."""
    n = np.array([len(words(t)) for t in texts])
    return {
        "empty": np.array([not t.strip() for t in texts]),
        "Chinese or Japanese (over a fifth of the characters)": extra[:, LENGTHS.index(HAN)] > 0.2,
        "opens with a brace (raw JSON)": extra[:, 6] > 0,
        "under 8 words": (n < 8) & (n > 0),
        "8 to 99 words": (n >= 8) & (n < 100),
        "100 to 299 words": (n >= 100) & (n < 300),
        "300 words and more": n >= 300,
    }


def sureness(targets: np.ndarray) -> dict[str, np.ndarray]:
    """Masks by the recorded classifier's own score of the label it gave."""
    own = np.maximum(targets, 1 - targets)
    edges = [0.5, 0.8, 0.95, 0.99, 1.01]
    return {
        f"{low} to {min(high, 1.0)}": (own >= low) & (own < high)
        for low, high in itertools.pairwise(edges)
    }


def human(weights: Weights, wheel: Archive) -> dict[str, Any]:
    """Agreement with PyRIT's human labels, none of which was trained on."""
    found = {}
    for name in ("refusal.csv", "refusal_extra.csv"):
        texts, truth = human_labels(wheel, name)
        p = sigmoid(weights.sums(texts))
        keyword = np.array([refuses_by_keyword(t) for t in texts])
        found[name] = {
            "judge": agreement.of_labels(truth, p > 0.5, p),
            "keywords": agreement.of_labels(truth, keyword),
        }
    return found
