"""The prompt probe: what is known before anything is said."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score as auroc

from tests.online.made import states
from trustllm_repro.online.monitors.prompt import PromptProbe

UNSAFE = np.arange(160) >= 80


def test_only_the_first_state_counts() -> None:
    seen = states(0, 80, 5) + states(1, 80, 5, shift=3)
    monitor = PromptProbe(layer=-1).fit(seen, UNSAFE)
    before = monitor(seen)
    assert auroc(UNSAFE, np.array([s[0] for s in before])) > 0.9
    assert all(len(set(s)) == 1 for s in before)
    for s in seen:
        s.trace.hidden[1][1:] = 7
    assert np.array_equal(np.array(before), np.array(monitor(seen)))
