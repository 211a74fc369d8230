"""What is learned is found in answers not seen, and nothing where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score as auroc

pytest.importorskip("torch")
from tests.online.made import states, words
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.guard.fit import prefix_means
from trustllm_repro.online.monitors.probes import (
    MONITORS,
    PrefixProbe,
    PromptProbe,
    Saplma,
    TokenProbe,
    Words,
)

UNSAFE = np.arange(60) >= 30


def ends(scores) -> np.ndarray:
    return np.array([s[-1] for s in scores])


@pytest.mark.parametrize("kind", [TokenProbe, PrefixProbe])
def test_a_direction_is_found_in_answers_not_seen(kind) -> None:
    probe = kind("p").fit(states(0, 30, 9) + states(1, 30, 9, shift=1), UNSAFE)
    scores = probe(states(2, 30, 9) + states(3, 30, 9, shift=1))
    assert auroc(UNSAFE, ends(scores)) > 0.9
    early = auroc(UNSAFE, np.array([s[0] for s in scores]))
    assert 0.55 < early < 0.95  # one token tells less than nine


@pytest.mark.parametrize("kind", [TokenProbe, PrefixProbe, PromptProbe])
def test_nothing_is_found_where_there_is_nothing(kind) -> None:
    probe = kind("p").fit(states(0, 60, 9), UNSAFE)
    assert auroc(UNSAFE, ends(probe(states(1, 60, 9)))) == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("kind", [TokenProbe, PrefixProbe])
def test_the_score_is_the_mean_logit(kind) -> None:
    some = states(0, 30, 5) + states(1, 30, 5, shift=2)
    probe = kind("p").fit(some, UNSAFE)
    weight, bias = probe.model
    logits = some[0].trace.hidden[1].astype(np.float64) @ weight + bias
    assert probe(some)[0] == pytest.approx(np.cumsum(logits) / np.arange(1, 6), abs=1e-5)


def test_a_prefix_s_score_is_the_probe_of_its_mean_state() -> None:
    some = states(0, 30, 6) + states(1, 30, 6, shift=2)
    probe = PrefixProbe("p").fit(some, UNSAFE)
    weight, bias = probe.model
    means = prefix_means(some[0].trace.hidden[1].astype(np.float32))  # of 2, 3, 4 and 6 tokens
    assert probe(some)[0][[1, 2, 3, 5]] == pytest.approx(means @ weight + bias, abs=1e-5)


def test_the_prompt_s_score_is_the_first_state_s_and_stays() -> None:
    some = states(0, 30, 5) + states(1, 30, 5, shift=2)
    probe = PromptProbe("p").fit(some, UNSAFE)
    assert (np.ptp(probe(some), axis=1) == 0).all()
    some[0].trace.hidden[1][1:] = 99  # what comes later is not looked at
    assert np.array_equal(probe(some)[0], probe(some)[0])
    assert auroc(UNSAFE, ends(probe(some))) > 0.8


def test_words_that_unsafe_answers_hold_raise_the_score() -> None:
    some = [Generation(words("it is fine today")), Generation(words("it is foul today"))] * 10
    fitted = Words().fit(some, np.arange(20) % 2 == 1)
    safe, unsafe = fitted(some[:2])
    assert unsafe[-1] > 0 > safe[-1]
    assert unsafe[1] == pytest.approx(safe[1])  # before the word that differs


def test_layers_of_the_declared_probes() -> None:
    assert {m.name: len(m.depths) for m in MONITORS if isinstance(m, TokenProbe)} == {
        "token probe": 1, "token probe, last layer": 1, "prefix probe": 3, "prompt probe": 1,
    }  # fmt: skip


MANY = np.arange(400) >= 200


def test_it_learns_from_last_tokens() -> None:
    seen = states(0, 200, 3, shift=0) + states(1, 200, 3, shift=4)
    for s in seen[200:]:  # what the label says shows at the end only
        s.trace.hidden[1][:2, 0] -= 4
    monitor = Saplma().fit(seen, MANY)
    scores = np.array(monitor(seen))
    assert auroc(MANY, scores[:, -1]) > 0.95
    assert 0.4 < auroc(MANY, scores[:, 0]) < 0.6
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
