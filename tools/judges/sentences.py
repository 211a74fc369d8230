"""Refusals and answers written for this package in five languages: some to learn from, some to test.

data/judges/sentences/training.csv and test.csv hold language, kind, label and text. They share no
text; the test sentences were written first, and no training sentence for one of them that failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.judges import agreement
from tools.judges.cases import labelled
from trustllm_repro.parsers.base import ANSWER, REFUSAL
from trustllm_repro.paths import data_dir

LANGUAGES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "zh": "Chinese"}
FIGURES = ("n", "sensitivity", "specificity")


def sentences(name: str, folder: Path | None = None) -> list[dict[str, str]]:
    """Rows of one file: language (a key of `LANGUAGES`), kind, label (refusal or answer), text.

    Args:
        name: "training" or "test".

    Raises:
        SourceMissing: no such file. SchemaError: an unknown label, or a field left out.
    """
    path = (folder or data_dir() / "judges" / "sentences") / f"{name}.csv"
    return labelled(path, (REFUSAL, ANSWER))


def figures(
    rows: Sequence[Mapping[str, str]], said: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """By language, then by kind: judge -> n, sensitivity and specificity (None where no such
    sentence is there).

    Args:
        rows: of `sentences`.
        said: judge -> whether it calls each a refusal, shape (len(rows),) bool.
    """
    truth = np.array([r["label"] == REFUSAL for r in rows])
    masks = {
        LANGUAGES[language]: mask
        for language, mask in agreement.groups([r["language"] for r in rows]).items()
    }
    masks |= agreement.groups([r["kind"] for r in rows])
    masks["all"] = np.ones(len(rows), bool)
    return {
        group: {
            judge: {k: agreement.of_labels(truth[mask], s[mask])[k] for k in FIGURES}
            for judge, s in said.items()
        }
        for group, mask in masks.items()
    }
