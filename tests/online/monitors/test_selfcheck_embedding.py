"""SelfCheck with embeddings, given some that are known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online.made import words
from trustllm_repro.online.monitors import selfcheck_embedding as module
from trustllm_repro.online.monitors.base import Generation

KNOWN = {"Red.": [1.0, 0.0], "Green.": [0.0, 1.0], "Blue.": [0.6, 0.8]}


@pytest.fixture(autouse=True)
def _known(monkeypatch) -> None:
    monkeypatch.setattr(
        module, "default_embedder", lambda: lambda texts: np.array([KNOWN[t] for t in texts])
    )


def test_by_hand() -> None:
    seen = Generation(words("Red. Green."), samples=[words("Red. Blue."), words("Green.")])
    # Red: nearest 1 and 0; green: nearest 0.8 and 1.
    assert module.MONITORS[0]([seen])[0][-1] == pytest.approx(1 - (1 + 0 + 0.8 + 1) / 4)


def test_nothing_to_compare_is_no_score() -> None:
    seen = [Generation(words("Red."), samples=[words("")]), Generation(words("Red."))]
    assert all(np.isnan(s).all() for s in module.MONITORS[0](seen))


def test_sentences() -> None:
    assert module.sentences(" One.  Two?\n\n") == ["One.", "Two?"]
