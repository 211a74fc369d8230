"""The linear probe finds a direction, and nothing where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score as auroc

from tests.online.made import states
from trustllm_repro.online.monitors.probe import MONITORS, LinearProbe

UNSAFE = np.arange(60) >= 30


def test_a_direction_is_found_in_answers_not_seen() -> None:
    probe = LinearProbe("p").fit(states(0, 30, 9) + states(1, 30, 9, shift=1), UNSAFE)
    scores = probe(states(2, 30, 9) + states(3, 30, 9, shift=1))
    assert auroc(UNSAFE, np.array([s[-1] for s in scores])) > 0.95
    early = auroc(UNSAFE, np.array([s[0] for s in scores]))
    assert 0.6 < early < 0.95  # one token tells less than nine


def test_nothing_is_found_where_there_is_nothing() -> None:
    probe = LinearProbe("p").fit(states(0, 60, 9), UNSAFE)
    scores = probe(states(1, 60, 9))
    assert auroc(UNSAFE, np.array([s[-1] for s in scores])) == pytest.approx(0.5, abs=0.2)


def test_the_score_is_the_mean_logit() -> None:
    seen = states(0, 30, 5) + states(1, 30, 5, shift=2)
    probe = LinearProbe("p").fit(seen, UNSAFE)
    logits = probe.model.decision_function(seen[0].trace.hidden[1].astype(np.float32))
    assert probe(seen)[0] == pytest.approx(np.cumsum(logits) / np.arange(1, 6), abs=1e-5)


def test_layers_of_the_declared_probes() -> None:
    assert [m.layer for m in MONITORS] == [-2, -1]
