"""Trains the refusal and the toxicity judge and measures them on models they did not learn from.

    python -m tools.judges.train --records ZIP --benchmark ZIP --vader WHEEL \
        [--pyrit WHEEL] [--only refusal]

writes data/judges (weights, manifest, model card) and data/measurements/judges.json; with --only,
what they hold of the other judge stays. The wheels are those of vaderSentiment 3.3.2 and pyrit
1.1.0, read as ZIP files and never imported. VADER's own score and alt-profanity-check are measured
beside ours if they can be imported. About ten minutes on one core; the same sources give the same
bytes (run with OMP_NUM_THREADS=1: sums of other thread counts round differently).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from tools import exit_code
from tools.judges import agreement, fit
from tools.judges.card import card
from tools.judges.correction import write_correction
from tools.judges.train_refusal import Made, Say, human, refusal
from tools.judges.training_data import (
    Examples,
    hashes,
    lexicon_of,
    refusal_examples,
    toxicity_examples,
    valences,
)
from trustllm_repro.data.benchmark import load_benchmark
from trustllm_repro.data.recorded import load_recorded
from trustllm_repro.errors import SettingsError
from trustllm_repro.judges.learned import Weights, judges_dir, lexicon_features, vectorise
from trustllm_repro.paths import data_dir
from trustllm_repro.store.archive import Archive, sha256
from trustllm_repro.store.atomic import write_bytes, write_json, write_text

JUDGES = ("refusal", "toxicity")


def toxicity(examples: Examples, lexicon: dict[int, float], say: Say) -> Made:
    """The toxicity judge, and its agreement with the recorded scores on unseen models."""
    x = vectorise(examples.texts, fit.TOXICITY_RECIPE)
    extra = lexicon_features(examples.texts, lexicon)
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

    return save(fit.tensors(weights))


def main(words_given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--benchmark", type=Path, required=True)
    parser.add_argument("--vader", type=Path, required=True, help="wheel with the lexicon")
    parser.add_argument("--pyrit", type=Path, help="wheel with human labels")
    parser.add_argument("--only", choices=JUDGES, help="train this judge, keep the other")
    parser.add_argument("--out", type=Path, default=judges_dir())
    parser.add_argument("--measurements", type=Path, default=data_dir() / "measurements")
    given = parser.parse_args(words_given)
    return exit_code(lambda: train(given, lambda t: print(t, file=sys.stderr, flush=True)))


def train(given: argparse.Namespace, say: Say) -> None:
    """Read, fit, measure, write. Measurements are of the weights as stored, in half precision.

    Raises:
        SettingsError: with `only`, there is no other judge to keep, or it has other sources.
    """
    names = ("records", "benchmark", "vader", "pyrit")
    sources = hashes({n: getattr(given, n) for n in names})
    files, results = kept(given, sources) if given.only else ({}, {})
    archive = Archive(given.records)
    recorded = load_recorded(given.records, load_benchmark(given.benchmark))
    lexicon = lexicon_of(valences(Archive(given.vader)))
    makers = {
        "refusal": lambda: refusal(refusal_examples(recorded, archive), say),
        "toxicity": lambda: toxicity(toxicity_examples(recorded), lexicon, say),
    }
    for name in (given.only,) if given.only else JUDGES:
        one = makers[name]()
        data = pack(one.weights)
        recipe = one.weights.recipe
        files[f"{name}.safetensors"] = {
            "bytes": len(data),
            "recipe": asdict(recipe),
            "sha256": sha256(data),
        }
        results[name] = one.measured
        if name == "refusal" and given.pyrit:
            stored = Weights.of(fit.tensors(one.weights), recipe)
            results[name]["human_labels"] = human(stored, Archive(given.pyrit))
        write_bytes(given.out / f"{name}.safetensors", data)
    results["sources_sha256"] = sources
    write_json(given.out / "manifest.json", {"files": files, "sources_sha256": sources})
    write_json(given.measurements / "judges.json", results)
    write_correction(given.measurements)
    write_text(given.out / "README.md", card(json.loads(json.dumps(results)), files))


def kept(given: argparse.Namespace, sources: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Entries of the manifest and measurements that a training of one judge leaves as they are."""
    try:
        manifest, results = (
            json.loads(path.read_text(encoding="utf-8"))
            for path in (given.out / "manifest.json", given.measurements / "judges.json")
        )
    except FileNotFoundError as e:
        raise SettingsError(f"nothing to keep: {e.filename}", remedy="leave --only out") from e
    if results["sources_sha256"] != sources:
        raise SettingsError(
            "the judge that is kept was trained on other sources", remedy="leave --only out"
        )
    return manifest["files"], results


if __name__ == "__main__":
    sys.exit(main())
