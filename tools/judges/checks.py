"""Judges of open answers against pairs made by hand, whose right label is known.

    python -m tools.judges.checks [--minilm]

reads data/judges/checks/*.csv and writes data/measurements/judge_checks.json. The sentences and
labels are ours: everyday topics, chosen to be hard in ways real answers are (paraphrases, numbers
in words, negations, hedges, traps). Their author knew the first judges' rules; the labels were set
before any judge was run. The judges of today were written later, without a look at these cases. A
few dozen hand-picked cases say where a judge fails, not how often it will.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools import exit_code
from tools.judges import agreement
from tools.judges.cases import labelled
from trustllm_repro.judges.models import Embed, default_embedder
from trustllm_repro.judges.rules import (
    ANSWER_MATCH,
    CORRECTED,
    CORRECTION,
    LEAST_F1,
    NOT_CORRECTED,
    RIGHT,
    STANCE,
    WRONG,
    holds,
    normalise,
    token_f1,
)
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import Item, Response
from trustllm_repro.store.atomic import write_json

Row = Mapping[str, str]
LEAST_COSINE = 0.7  # from here on two short texts are taken to say the same
LABELS = {
    "correctness": (RIGHT, WRONG),
    "correction": (CORRECTED, NOT_CORRECTED),
    "agreement": ("agree", "disagree", "neither"),
}


def rows(name: str, folder: Path | None = None) -> list[dict[str, str]]:
    """The cases of one file.

    Args:
        name: "correctness", "correction" or "agreement".

    Raises:
        SourceMissing: no such file. SchemaError: an unknown label, or a field left out.
    """
    return labelled((folder or data_dir() / "judges" / "checks") / f"{name}.csv", LABELS[name])


def _asked(cases: Sequence[Row], extra: Sequence[Row]) -> tuple[list[Item], list[Response]]:
    items = [Item("check", k, c.get("question", ""), extra=e) for k, (c, e) in
             enumerate(zip(cases, extra, strict=True))]  # fmt: skip
    return items, [Response("check", "check", k, c["answer"]) for k, c in enumerate(cases)]


def correctness(cases: Sequence[Row], embed: Embed | None = None) -> dict[str, list[str]]:
    """Label of every case by each judge: yes or no."""
    items, responses = _asked(cases, [{"answer": c["reference"]} for c in cases])
    pairs = [(normalise(c["answer"]), normalise(c["reference"])) for c in cases]
    hits = {
        "exact match": [said == gold for said, gold in pairs],
        "holds the reference": [holds(said, gold) for said, gold in pairs],
        "token F1": [token_f1(said, gold) >= LEAST_F1 for said, gold in pairs],
    }
    if embed is not None:
        said, gold = (embed([c[k] for c in cases]) for k in ("answer", "reference"))
        hits["MiniLM"] = [bool(c >= LEAST_COSINE) for c in (said * gold).sum(1)]
    found = {"answer match": [str(j.label) for j in ANSWER_MATCH(items, responses)]}
    return found | {n: [RIGHT if h else WRONG for h in hs] for n, hs in hits.items()}


def correction(cases: Sequence[Row]) -> dict[str, list[str]]:
    """Label of every case: corrected or not corrected."""
    items, responses = _asked(cases, cases)
    return {"correction": [str(j.label) for j in CORRECTION(items, responses)]}


def agreeing(cases: Sequence[Row]) -> dict[str, list[str]]:
    """Label of every case: agree, disagree, or neither where the parser finds none."""
    items, responses = _asked(cases, cases)
    return {"agreement": [j.label or "neither" for j in STANCE(items, responses)]}


def two_way(cases: Sequence[Row], said: Sequence[str], positive: str) -> dict[str, Any]:
    """Counts and figures over all cases, and the share of right labels by kind of case."""
    truth = np.array([c["label"] == positive for c in cases])
    found = agreement.of_labels(truth, np.array([s == positive for s in said]))
    return found | {"accuracy_by_kind": by_kind(cases, said)}


def three_way(cases: Sequence[Row], said: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Confusion (true label -> said label -> cases), accuracy, and Cohen's kappa."""
    table = {t: {s: 0 for s in labels} for t in labels}
    for case, label in zip(cases, said, strict=True):
        table[case["label"]][label] += 1
    n, right = len(cases), sum(table[x][x] for x in labels)
    return {
        "n": n,
        "confusion": table,
        "accuracy": round(right / n, 4),
        "kappa": agreement.kappa([c["label"] for c in cases], said),
        "accuracy_by_kind": by_kind(cases, said),
    }


def by_kind(cases: Sequence[Row], said: Sequence[str]) -> dict[str, list[int]]:
    """Kind of case -> right labels and cases."""
    found: dict[str, list[int]] = {}
    for case, label in zip(cases, said, strict=True):
        both = found.setdefault(case["kind"], [0, 0])
        both[0] += case["label"] == label
        both[1] += 1
    return found


def measure(embed: Embed | None = None, folder: Path | None = None) -> dict[str, Any]:
    """All figures, ready to be written as JSON; those of MiniLM only with `embed`.

    Raises:
        SourceMissing, SchemaError: see `rows`.
    """
    cases = {name: rows(name, folder) for name in LABELS}
    right = correctness(cases["correctness"], embed)
    put_right = correction(cases["correction"])
    agree = agreeing(cases["agreement"])
    return {
        "correctness": {n: two_way(cases["correctness"], s, RIGHT) for n, s in right.items()},
        "correction": {n: two_way(cases["correction"], s, CORRECTED) for n, s in put_right.items()},
        "agreement": {
            n: three_way(cases["agreement"], s, LABELS["agreement"]) for n, s in agree.items()
        },
        "least": {"MiniLM": LEAST_COSINE, "token F1": LEAST_F1},
    }


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minilm", action="store_true", help="also by sentence embeddings")
    parser.add_argument(
        "--out", type=Path, default=data_dir() / "measurements" / "judge_checks.json"
    )
    given = parser.parse_args(words)
    return exit_code(
        lambda: write_json(given.out, measure(default_embedder() if given.minilm else None))
    )


if __name__ == "__main__":
    sys.exit(main())
