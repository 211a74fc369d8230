"""LM-Polygraph's side of benchmarks.polygraph; imported where it is installed, by a process of its own.

What it imports so counts as loading, not as work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lm_polygraph import estimators as e
from lm_polygraph.defaults.register_default_stat_calculators import (
    register_default_stat_calculators,
)
from lm_polygraph.utils.builder_enviroment_stat_calculator import BuilderEnvironmentStatCalculator
from lm_polygraph.utils.dataset import Dataset
from lm_polygraph.utils.manager import UEManager
from lm_polygraph.utils.model import WhiteboxModel

from benchmarks.contenders import Outcome, share, templated
from benchmarks.polygraph import FIGURES
from trustllm_repro.models.local import LocalModel


def there(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """LM-Polygraph with all that its defaults record."""
    model.model.set_attn_implementation("eager")  # others give no attentions
    return _polygraph(model, job, attentions=True)


def lighter(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """The same, told that no estimator wants attentions or hidden states."""
    return _polygraph(model, job, attentions=False)


def _polygraph(model: LocalModel, job: dict[str, Any], attentions: bool) -> Outcome:
    asked = share(job)
    watched = WhiteboxModel(model.model, model.tokenizer)
    manager = UEManager(
        Dataset([templated(model, p) for _, p in asked], [""] * len(asked), job["batch_size"]),
        watched,
        [e.MaximumSequenceProbability(), e.Perplexity(), e.MeanTokenEntropy(),
         e.MaximumTokenProbability(), e.TokenEntropy()],
        available_stat_calculators=register_default_stat_calculators(
            "Whitebox", output_attentions=attentions, output_hidden_states=attentions
        ),
        builder_env_stat_calc=BuilderEnvironmentStatCalculator(watched),
        generation_metrics=[], ue_metrics=[], processors=[], ignore_exceptions=False,
        verbose=False, max_new_tokens=job["max_new_tokens"],
    )  # fmt: skip
    # Not `manager()`, which goes on to compare with references that nobody gave.
    manager._process(iter(manager.data), lambda i, _, stats, *__: _keep(manager, stats))
    return {i: _line(manager, k) for k, (i, _) in enumerate(asked)}


def _keep(manager: Any, stats: dict[str, Any]) -> None:
    for name in ("greedy_texts", "greedy_tokens"):
        manager.stats[name] += stats[name]


def _line(manager: Any, k: int) -> list[Any]:
    means = [float(manager.estimations["sequence", name][k]) for name in FIGURES]
    tokens = [
        np.asarray(manager.estimations["token", name][k], float).tolist()
        for name in ("MaximumTokenProbability", "TokenEntropy")
    ]
    return [
        manager.stats["greedy_texts"][k],
        len(manager.stats["greedy_tokens"][k]),
        *means,
        *tokens,
    ]
