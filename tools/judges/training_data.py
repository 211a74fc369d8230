"""What the learned judges are trained and tested on. Texts stay in memory; none is written."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trustllm_repro.data.recorded import COPY, Recorded
from trustllm_repro.errors import SchemaError
from trustllm_repro.judges.learned import HAN, LENGTHS, has_phrase, lengths
from trustllm_repro.parsers.base import REFUSAL
from trustllm_repro.store.archive import Archive

# Tasks that ask for a choice of one option.
CHOICES = ("ethics/moralchoice_high", "fairness/preference")


@dataclass(frozen=True)
class Examples:
    """Answers and what the recorded judge said of them, in a fixed order.

    Attributes:
        texts, tasks, models: one each per answer.
        targets: shape (n,): the recorded probability of refusal, or the recorded toxicity.
    """

    texts: list[str]
    tasks: list[str]
    models: list[str]
    targets: np.ndarray

    def folds(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each model's name and the mask of its answers."""
        array = np.array(self.models)
        for model in sorted(set(self.models)):
            yield model, array == model

    def training(self, tested: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
        """Positions to train on: one of each text outside `tested` that does not also stand, word
        for word, among the tested ones.

        Args:
            tested: shape (n,) bool.
            among: shape (n,) bool: answers that may be trained on; None for all.
        """
        seen = {t for t, held in zip(self.texts, tested, strict=True) if held}
        chosen = []
        for i, text in enumerate(self.texts):
            if not tested[i] and text not in seen and (among is None or among[i]):
                seen.add(text)
                chosen.append(i)
        return np.array(chosen, dtype=int)


def refusal_probabilities(archive: Archive) -> dict[str, float]:
    """Answer -> probability of LABEL_0 that stands beside the recorded label."""
    found: dict[str, float] = {}
    for name in archive.names():
        rows = json.loads(archive.read(name)) if name.endswith(".json") else []
        for row in rows if isinstance(rows, list) else []:
            judged = row.get("longformer_res") if isinstance(row, dict) else None
            if judged and row.get("res") is not None and "score" in judged[0]:
                score = float(judged[0]["score"])
                found[row["res"]] = score if judged[0]["label"] == "LABEL_0" else 1 - score
    return found


def refusal_examples(recorded: Recorded, archive: Archive) -> Examples:
    """All labelled answers but copied files. The target is a probability: the recorded classifier
    was sure of some labels and torn about others, and a learner gains by knowing which."""
    sure = refusal_probabilities(archive)
    rows = [
        r
        for _, responses in sorted(recorded.answers.items(), key=lambda of: of[0])
        for r in sorted(responses, key=lambda r: r.revision)
        if r.revision != COPY and r.judge is not None and r.text is not None
    ]
    targets = []
    for r in rows:
        said = 1.0 if r.judge == REFUSAL else 0.0
        p = sure.get(r.text, said)
        targets.append(p if (p > 0.5) == (said > 0.5) else said)
    return Examples(
        [r.text for r in rows], [r.task for r in rows], [r.model for r in rows], np.array(targets)
    )


def unreadable(texts: Sequence[str]) -> np.ndarray:
    """Mask of answers the recorded classifier could not read: over a fifth Chinese or Japanese.

    It calls hardly any of them a refusal, whatever they say (`doubted` in judges.json counts them).
    """
    return lengths(texts)[:, LENGTHS.index(HAN)] > 0.2


def unfounded(examples: Examples) -> np.ndarray:
    """Mask of recorded refusals in `CHOICES` without any phrase of refusal (`KEYWORDS`).

    The recorded classifier calls most answers that choose an option refusals. Answers that neither
    choose nor hold a phrase of the list are left out with them.
    """
    rows = zip(examples.texts, examples.tasks, examples.targets, strict=True)
    return np.array([k in CHOICES and p > 0.5 and not has_phrase(t) for t, k, p in rows], bool)


def toxicity_examples(recorded: Recorded) -> Examples:
    """All answers with a recorded Perspective score."""
    rows = [
        r
        for (task, _), responses in sorted(recorded.answers.items(), key=lambda of: of[0])
        for r in sorted(responses, key=lambda r: r.revision)
        if task == "safety/toxicity"
        and r.revision != COPY
        and r.number_recorded is not None
        and r.text
    ]
    return Examples(
        [r.text for r in rows],
        [r.task for r in rows],
        [r.model for r in rows],
        np.array([r.number_recorded for r in rows]),
    )


PYRIT = "pyrit/datasets/scorer_evals/refusal_scorer/"


def human_labels(wheel: Archive, name: str) -> tuple[list[str], np.ndarray]:
    """Answers and whether people called them refusals, from PyRIT's scorer evaluations.

    Args:
        name: "refusal.csv" or "refusal_extra.csv". The first line, and any comment lines after
            it, start with "#"; a line inside an answer may do so too, and stays.

    Raises:
        SchemaError: a column is missing or a label is neither 0 nor 1.
    """
    lines = wheel.read(PYRIT + name).decode("utf-8-sig").splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    texts, labels = [], []
    for i, row in enumerate(csv.DictReader(io.StringIO("".join(lines), newline=""))):
        if row.get("human_score") not in ("0", "1") or row.get("assistant_response") is None:
            raise SchemaError(name, i, "human_score", "0 or 1 expected, and an answer beside it")
        texts.append(row["assistant_response"])
        labels.append(row["human_score"] == "1")
    return texts, np.array(labels)


def valences(wheel: Archive) -> dict[str, float]:
    """Word -> mean valence from -4 to 4, from the lexicon in the wheel of vaderSentiment (MIT)."""
    text = wheel.read("vaderSentiment/vader_lexicon.txt").decode("utf-8-sig")
    rows = (line.split("\t") for line in text.splitlines() if line.strip())
    return {row[0]: float(row[1]) for row in rows if len(row) >= 2}


def lexicon_of(valences: dict[str, float]) -> dict[int, float]:
    """The words by their hashes only."""
    table = {zlib.crc32(w.encode("utf-8")): v for w, v in sorted(valences.items())}
    return {h: float(np.float32(table[h])) for h in sorted(table)}


def hashes(paths: dict[str, Path | None]) -> dict[str, Any]:
    """sha256 of every source that was given."""
    return {name: Archive(path).digest() for name, path in paths.items() if path is not None}
