"""Trains the refusal and the toxicity judge and measures them on models they did not learn from.

    python -m trustllm_repro.judges.train --records ZIP --benchmark ZIP --vader WHEEL \
        [--pyrit WHEEL]

writes data/judges (weights, manifest, model card) and data/measurements/judges.json. The wheels
are those of vaderSentiment 3.3.2 and pyrit 1.1.0, read as ZIP files and never imported. VADER's
own score and alt-profanity-check are measured beside ours if they can be imported. About ten
minutes on one core; the same sources give the same bytes (run with OMP_NUM_THREADS=1: sums of
other thread counts round differently).
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse, stats

from trustllm_repro.errors import exit_code
from trustllm_repro.judges import agreement, fit
from trustllm_repro.judges.card import card
from trustllm_repro.judges.features import Lexicon, lengths, vectorise, words
from trustllm_repro.judges.learned import (
    KeywordRefusal,
    Weights,
    is_unsure,
    judges_dir,
    sigmoid,
)
from trustllm_repro.judges.refusal import REFUSAL
from trustllm_repro.judges.training_data import (
    Examples,
    hashes,
    human_labels,
    refusal_examples,
    toxicity_examples,
    valences,
)
from trustllm_repro.sources.archive import Archive, sha256
from trustllm_repro.sources.benchmark import load_benchmark
from trustllm_repro.sources.manifests import data_dir
from trustllm_repro.sources.recorded import load_recorded
from trustllm_repro.store.atomic import write_bytes, write_json, write_text

Say = Callable[[str], None]
_NO_LEXICON = Lexicon(np.zeros(0, np.uint32), np.zeros(0, np.float32))
_NO_KNOTS = np.zeros((2, 0))


@dataclass(frozen=True)
class Made:
    """Weights of one judge and what was measured of it."""

    weights: Weights
    measured: dict[str, Any]


def left_out(
    examples: Examples, x: sparse.csr_matrix, extra: np.ndarray, *, drop_equal: bool, say: Say
) -> np.ndarray:
    """Probability of refusal of every answer, by a line that saw no answer of its model."""
    p = np.zeros(len(examples.texts))
    for model, tested in examples.folds():
        say(f"refusal without {model}" + ("" if drop_equal else ", equal texts kept"))
        rows = examples.training(tested, drop_equal=drop_equal)
        line = fit.fit_logistic(x[rows], extra[rows], examples.targets[rows])
        p[tested] = sigmoid(line(x[tested], extra[tested]))
    return p


def traits(texts: list[str], extra: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of answers that are hard to judge."""
    n = np.array([len(words(t)) for t in texts])
    return {
        "empty": np.array([not t.strip() for t in texts]),
        "Chinese or Japanese (over a fifth of the characters)": extra[:, 5] > 0.2,
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


def refusal(examples: Examples, say: Say) -> Made:
    """The refusal judge, and its agreement with the recorded labels on unseen models."""
    x, extra = vectorise(examples.texts, fit.REFUSAL_RECIPE), lengths(examples.texts)
    truth = examples.targets > 0.5
    p = left_out(examples, x, extra, drop_equal=True, say=say)
    kept = left_out(examples, x, extra, drop_equal=False, say=say)
    keyword = np.array([KeywordRefusal.judge(t).label == REFUSAL for t in examples.texts])
    everywhere = {"all": np.ones(len(truth), bool)}
    by = {
        "overall": everywhere,
        "by_task": agreement.groups(examples.tasks),
        "by_model": agreement.groups(examples.models),
        "by_kind_of_answer": traits(examples.texts, extra),
        "by_recorded_score": sureness(examples.targets),
    }
    measured: dict[str, Any] = {"training_answers": len(truth), "texts": len(set(examples.texts))}
    for name, masks in by.items():
        measured[name] = {
            g: {
                "judge": agreement.of_labels(truth[m], p[m] > 0.5, p[m]),
                "keywords": agreement.of_labels(truth[m], keyword[m]),
            }
            for g, m in masks.items()
        }
    masks = agreement.groups(examples.models)
    measured["unsure"] = {m: round(float(is_unsure(p[k]).mean()), 4) for m, k in masks.items()}
    measured["by_task_and_model"] = counts(examples, truth, p > 0.5)
    measured["overall_equal_texts_kept"] = agreement.of_labels(truth, kept > 0.5, kept)
    say("refusal on all models")
    rows = examples.training(np.zeros(len(truth), bool))
    line = fit.fit_logistic(x[rows], extra[rows], examples.targets[rows])
    weights = Weights(
        fit.REFUSAL_RECIPE, line.hashed, line.dense, line.bias, _NO_LEXICON, _NO_KNOTS
    )
    return Made(weights, measured)


def counts(
    examples: Examples, truth: np.ndarray, said: np.ndarray
) -> dict[str, dict[str, dict[str, int]]]:
    """tp, fp, fn, tn per task and model: what mends a rate that our judge read (judges.errors)."""
    names = ("tp", "fp", "fn", "tn")
    found: dict[str, dict[str, dict[str, int]]] = {}
    for task, in_task in agreement.groups(examples.tasks).items():
        found[task] = {}
        for model, of_model in agreement.groups(examples.models).items():
            mask = in_task & of_model
            if mask.any():
                one = agreement.of_labels(truth[mask], said[mask])
                found[task][model] = {n: one[n] for n in names}
    return found


def human(weights: Weights, wheel: Archive) -> dict[str, Any]:
    """Agreement with PyRIT's human labels, none of which was trained on."""
    found = {}
    for name in ("refusal.csv", "refusal_extra.csv"):
        texts, truth = human_labels(wheel, name)
        p = sigmoid(weights.sums(texts))
        keyword = np.array([KeywordRefusal.judge(t).label == REFUSAL for t in texts])
        found[name] = {
            "judge": agreement.of_labels(truth, p > 0.5, p),
            "keywords": agreement.of_labels(truth, keyword),
        }
    return found


def toxicity(examples: Examples, lexicon: Lexicon, say: Say) -> Made:
    """The toxicity judge, and its agreement with the recorded scores on unseen models."""
    x, extra = vectorise(examples.texts, fit.TOXICITY_RECIPE), lexicon.features(examples.texts)
    truth, models = examples.targets, np.array(examples.models)
    said, gram = np.zeros(len(truth)), fit.products(x)

    def fitted(rows: np.ndarray) -> fit.Toxicity:
        within = gram[np.ix_(rows, rows)]
        return fit.fit_toxicity(x[rows], extra[rows], truth[rows], models[rows], within)

    for model, tested in examples.folds():
        say(f"toxicity without {model}")
        said[tested] = fitted(examples.training(tested))(x[tested], extra[tested])
    masks = agreement.groups(examples.models)
    by_model = {m: agreement.of_scores(truth[k], said[k]) for m, k in masks.items()}
    measured = {
        "training_answers": len(truth),
        "overall": agreement.of_scores(truth, said),
        "mean_spearman_of_models": round(
            float(np.mean([v["spearman"] for v in by_model.values()])), 4
        ),
        "by_model": by_model,
        "others": others(examples.texts, truth, masks),
    }
    say("toxicity on all models")
    whole = fitted(examples.training(np.zeros(len(truth), bool)))
    line = whole.line
    weights = Weights(fit.TOXICITY_RECIPE, line.hashed, line.dense, line.bias, lexicon, whole.knots)
    return Made(weights, measured)


def others(texts: list[str], truth: np.ndarray, masks: dict[str, np.ndarray]) -> dict[str, Any]:
    """Spearman of judges that were not trained here; None for one that cannot be imported."""
    found: dict[str, Any] = {}
    for name, score in (
        ("alt-profanity-check", _profanity),
        ("VADER, compound turned round", _vader),
    ):
        try:
            said = score(texts)
        except ImportError:
            found[name] = None
            continue
        found[name] = {
            "overall": round(float(stats.spearmanr(truth, said)[0]), 4),
            "by_model": {
                m: round(float(stats.spearmanr(truth[k], said[k])[0]), 4) for m, k in masks.items()
            },
        }
    return found


def _profanity(texts: list[str]) -> np.ndarray:
    return np.array(importlib.import_module("profanity_check").predict_prob(texts))


def _vader(texts: list[str]) -> np.ndarray:
    module = importlib.import_module("vaderSentiment.vaderSentiment")
    judge = module.SentimentIntensityAnalyzer()
    return -np.array([judge.polarity_scores(t)["compound"] for t in texts])


def pack(weights: Weights) -> bytes:
    """Bytes of the weights file; tensors stand in the order of their names."""
    from safetensors.numpy import save

    return save(weights.tensors())


def main(words_given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--benchmark", type=Path, required=True)
    parser.add_argument("--vader", type=Path, required=True, help="wheel with the lexicon")
    parser.add_argument("--pyrit", type=Path, help="wheel with human labels")
    parser.add_argument("--out", type=Path, default=judges_dir())
    parser.add_argument("--measurements", type=Path, default=data_dir() / "measurements")
    given = parser.parse_args(words_given)
    return exit_code(lambda: train(given, lambda t: print(t, file=sys.stderr, flush=True)))


def train(given: argparse.Namespace, say: Say) -> None:
    """Read, fit, measure, write. Measurements are of the weights as stored, in half precision."""
    archive = Archive(given.records)
    recorded = load_recorded(given.records, load_benchmark(given.benchmark))
    lexicon = Lexicon.of(valences(Archive(given.vader)))
    made = {
        "toxicity": toxicity(toxicity_examples(recorded), lexicon, say),
        "refusal": refusal(refusal_examples(recorded, archive), say),
    }
    names = ("records", "benchmark", "vader", "pyrit")
    sources = hashes({n: getattr(given, n) for n in names})
    files, results = {}, {name: m.measured for name, m in made.items()}
    for name, one in sorted(made.items()):
        data = pack(one.weights)
        recipe = one.weights.recipe
        files[f"{name}.safetensors"] = {
            "bytes": len(data),
            "recipe": recipe.as_dict(),
            "sha256": sha256(data),
        }
        if name == "refusal" and given.pyrit:
            stored = Weights.of(one.weights.tensors(), recipe)
            results[name]["human_labels"] = human(stored, Archive(given.pyrit))
        write_bytes(given.out / f"{name}.safetensors", data)
    results["sources_sha256"] = sources
    write_json(given.out / "manifest.json", {"files": files, "sources_sha256": sources})
    write_json(given.measurements / "judges.json", results)
    write_text(given.out / "README.md", card(json.loads(json.dumps(results)), files))


if __name__ == "__main__":
    sys.exit(main())
