"""SAPLMA: learns from last tokens."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score as auroc

from tests.online.made import states
from trustllm_repro.online.monitors.saplma import Saplma

UNSAFE = np.arange(400) >= 200


def test_it_learns_from_last_tokens() -> None:
    seen = states(0, 200, 3, shift=0) + states(1, 200, 3, shift=4)
    for s in seen[200:]:  # what the label says shows at the end only
        s.trace.hidden[1][:2, 0] -= 4
    monitor = Saplma().fit(seen, UNSAFE)
    scores = np.array(monitor(seen))
    assert auroc(UNSAFE, scores[:, -1]) > 0.95
    assert 0.4 < auroc(UNSAFE, scores[:, 0]) < 0.6
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_the_network_is_the_published_one() -> None:
    seen = states(0, 40, 2) + states(1, 40, 2, shift=3)
    network = Saplma().fit(seen, np.arange(80) >= 40).model[-1]
    assert (network.hidden_layer_sizes, network.batch_size, network.n_iter_) == (
        (256, 128, 64),
        32,
        5,
    )
    assert (network.activation, network.solver) == ("relu", "adam")


def test_fitting_twice_gives_the_same() -> None:
    seen = states(0, 20, 2) + states(1, 20, 2, shift=1)
    one, two = (Saplma().fit(seen, np.arange(40) >= 20)(seen) for _ in range(2))
    assert np.array_equal(np.array(one), np.array(two))
