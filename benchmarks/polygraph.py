"""The same estimators here and in LM-Polygraph: time and memory, in one run on one machine.

    pip install lm-polygraph
    python -m benchmarks.polygraph [--model smollm2-135m] [--dtype auto]

writes data/measurements/polygraph.json. Both generate greedily with the same weights and give, of
every answer, sequence probability, perplexity and mean token entropy, and of every token its
probability and entropy (Fadeeva et al. 2023, arXiv 2311.07383, for LM-Polygraph). It runs as its
command-line benchmark sets it up, attentions recorded for other estimators' sake, and again without
those, which it does not do by itself. That our numbers are its numbers is checked in the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import generation as bench
from benchmarks.contenders import Outcome, share
from benchmarks.generation import Contender, Round
from benchmarks.prompts import prompts
from tools import exit_code
from trustllm_repro.errors import SettingsError
from trustllm_repro.models.base import Request
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations.recorder import generated
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import write_json

OURS, THEIRS, LIGHTER = "this package", "LM-Polygraph", "LM-Polygraph without attentions"
# An outcome is text, tokens, these, and a list a token each of minus log-probability and entropy.
FIGURES = ("MaximumSequenceProbability", "Perplexity", "MeanTokenEntropy")


def here(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """One recorded generation, then the estimators."""
    asked = share(job)
    requests = [Request(p, job["max_new_tokens"]) for _, p in asked]
    found: Outcome = {}
    for batch in generated(model, requests):
        for i, trace in batch:
            logp, entropy = trace.logp.astype(float), trace.entropy.astype(float)
            means = [-float(logp.sum()), -float(logp.mean()), float(entropy.mean())]
            found[asked[i][0]] = [
                trace.text,
                len(trace),
                *means,
                (-logp).tolist(),
                entropy.tolist(),
            ]
    return found


def contenders(cores: int, dtype: str) -> list[Contender]:
    """One process with all cores each."""
    functions = {
        OURS: "polygraph:here", THEIRS: "polygraph_theirs:there",
        LIGHTER: "polygraph_theirs:lighter",
    }  # fmt: skip
    package = "benchmarks"
    return [
        Contender(name, f"{package}.{function}", dtype, 1, cores, stock=name != OURS)
        for name, function in functions.items()
    ]


def agreement(one: Outcome, two: Outcome) -> dict[str, Any]:
    """How many answers are the same, and the largest difference of any estimate of those.

    Answers that end by themselves are compared token by token only: LM-Polygraph counts the end as
    a token in what it says of a sequence, and never gives the last token's own estimate.
    """
    same = [(one[k], two[k]) for k in one if one[k][0] == two[k][0]]
    whole = [(a, b) for a, b in same if a[1] == b[1]]
    gaps = [np.abs(np.subtract(a[2:5], b[2:5])) for a, b in whole]
    per_token = [
        np.abs(np.subtract(x[: min(len(x), len(y))], y[: min(len(x), len(y))]))
        for a, b in same
        for x, y in zip(a[5:], b[5:], strict=True)
    ]
    return {
        "answers": len(one), "same_text": len(same), "same_length": len(whole),
        "largest_difference": {
            **{f: _largest([g[i : i + 1] for g in gaps]) for i, f in enumerate(FIGURES)},
            "of any token": _largest(per_token),
        },
    }  # fmt: skip


def _largest(gaps: Sequence[np.ndarray]) -> float | None:
    found = np.concatenate([*gaps, np.zeros(0)])
    return float(f"{found.max():.3g}") if len(found) else None


def measure(
    model: str, dtype: str, *, prompts_asked: int = 32, tokens: int = 48, batch_size: int = 16,
    repeats: int = 3, rivals: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Times, peaks, ratios and agreement, medians of rounds in turn; the first is not counted.

    Args:
        rivals: without, this package alone; for tests where LM-Polygraph is not installed.

    Raises:
        SettingsError: LM-Polygraph is not installed, or the model is not on this machine.
    """
    if rivals and not importlib.util.find_spec("lm_polygraph"):
        raise SettingsError("LM-Polygraph is not installed", remedy="pip install lm-polygraph")
    found = find_model(model, dtype=dtype)
    if not isinstance(found, LocalModel):
        raise SettingsError("only models on this machine can be timed")
    dtype = str(found.identity["dtype"])
    asked = prompts(prompts_asked)
    job = {"model": str(found.folder), "batch_size": batch_size, "max_new_tokens": tokens}
    named = contenders(bench.cores(), dtype)[: 3 if rivals else 1]
    with ExitStack() as stack:
        teams = [bench.start(stack, c, job, asked, [[]] * len(asked)) for c in named]
        rounds = bench.in_turn(teams, repeats, warm_up=1)
        table = bench.table(teams, rounds)
    return {
        "what": "the same estimators of the same answers, models loaded before",
        "estimators": [*FIGURES, "MaximumTokenProbability", "TokenEntropy"],
        "contenders": table,
        "ratios": {c.name: _ratios(rounds, c.name, table) for c in named[1:]},
        "agreement": {
            c.name: agreement(rounds[OURS][0].outcome, rounds[c.name][0].outcome) for c in named[1:]
        },
        "settings": {
            "model": found.name, "dtype": dtype, "prompts": prompts_asked,
            "max_new_tokens": tokens, "batch_size": batch_size, "repeats": repeats,
            **({"lm-polygraph": version("lm-polygraph")} if rivals else {}),
        },
        "machine": bench.machine(),
    }  # fmt: skip


def _ratios(
    rounds: dict[str, list[Round]], other: str, table: dict[str, dict[str, Any]]
) -> dict[str, float]:
    """Theirs over ours: time round by round, and what memory is taken beyond the loaded model."""
    of = [a.seconds / b.seconds for a, b in zip(rounds[other], rounds[OURS], strict=True)]
    more = [
        table[c]["peak_mb_per_process"] - table[c]["after_loading_mb"] for c in (other, OURS)
    ]  # fmt: skip
    return {
        "time": round(float(np.median(of)), 2), "time_min": round(min(of), 2),
        "time_max": round(max(of), 2),
        "peak_memory": round(
            table[other]["peak_mb_per_process"] / table[OURS]["peak_mb_per_process"], 2
        ),
        "peak_beyond_loading": round(more[0] / max(more[1], 1), 2),
    }  # fmt: skip


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    default = data_dir() / "measurements" / "polygraph.json"
    parser.add_argument("--out", type=Path, default=default)
    g = parser.parse_args(words)
    return exit_code(
        lambda: write_json(
            g.out,
            measure(g.model, g.dtype, prompts_asked=g.prompts, tokens=g.tokens,
                    batch_size=g.batch_size, repeats=g.repeats),
        )
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
