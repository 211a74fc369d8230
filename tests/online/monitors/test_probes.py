"""What is learned of states is found in answers not seen, and nothing where there is none.

Hybrids: on one scale, and no more than their members know.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score as auroc

pytest.importorskip("torch")

from tests.online.made import states, trace
from tests.online.made_generations import generations
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.monitors.base import InsufficientData, all_monitors
from trustllm_repro.online.monitors.probes import (
    MONITORS,
    TOKENS,
    AbstractStates,
    Box,
    FirstToken,
    Hybrid,
    LinearProbe,
    Mahalanobis,
    Saplma,
    clusters,
    drawn_tokens,
    first_tokens,
    outside,
    prefix_means,
    states_of,
)
from trustllm_repro.online.studies import claims
from trustllm_repro.online.studies.evaluate import evaluate_monitors

UNSAFE = np.arange(60) >= 30
BY_NAME = {m.name: m for m in MONITORS}
TOKEN, PROMPT = BY_NAME["token probe, last layer"], BY_NAME["prompt probe"]
PREFIX = BY_NAME["prefix probe"]


def ends(scores) -> np.ndarray:
    return np.array([s[-1] for s in scores])


@pytest.mark.parametrize("probe", [TOKEN, PREFIX])
def test_a_direction_is_found_in_answers_not_seen(probe) -> None:
    probe = probe.fit(states(0, 30, 9) + states(1, 30, 9, shift=1), UNSAFE)
    scores = probe(states(2, 30, 9) + states(3, 30, 9, shift=1))
    assert auroc(UNSAFE, ends(scores)) > 0.9
    early = auroc(UNSAFE, np.array([s[0] for s in scores]))
    assert 0.55 < early < 0.95  # one token tells less than nine


@pytest.mark.parametrize("probe", [TOKEN, PREFIX, PROMPT])
def test_nothing_is_found_where_there_is_nothing(probe) -> None:
    probe = probe.fit(states(0, 60, 9), UNSAFE)
    assert auroc(UNSAFE, ends(probe(states(1, 60, 9)))) == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("probe", [TOKEN, PREFIX])
def test_the_score_is_the_mean_logit(probe) -> None:
    some = states(0, 30, 5) + states(1, 30, 5, shift=2)
    probe = probe.fit(some, UNSAFE)
    weight, bias = probe.model
    logits = some[0].trace.hidden[1].astype(np.float64) @ weight + bias
    assert probe(some)[0] == pytest.approx(np.cumsum(logits) / np.arange(1, 6), abs=1e-5)


def test_a_prefix_s_score_is_the_probe_of_its_mean_state() -> None:
    some = states(0, 30, 6) + states(1, 30, 6, shift=2)
    probe = PREFIX.fit(some, UNSAFE)
    weight, bias = probe.model
    means = prefix_means(some[0].trace.hidden[1].astype(np.float32))  # of 2, 3, 4 and 6 tokens
    assert probe(some)[0][[1, 2, 3, 5]] == pytest.approx(means @ weight + bias, abs=1e-5)


def test_the_prompt_s_score_is_the_first_state_s_and_stays() -> None:
    some = states(0, 30, 5) + states(1, 30, 5, shift=2)
    probe = PROMPT.fit(some, UNSAFE)
    assert (np.ptp(probe(some), axis=1) == 0).all()
    some[0].trace.hidden[1][1:] = 99  # what comes later is not looked at
    assert np.array_equal(probe(some)[0], probe(some)[0])
    assert auroc(UNSAFE, ends(probe(some))) > 0.8


def test_layers_of_the_declared_probes() -> None:
    assert {m.name: len(m.depths) for m in MONITORS if isinstance(m, LinearProbe)} == {
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


@pytest.mark.parametrize(
    ("depths", "layers"),
    [
        ((1.0,), [30]),
        ((0.5,), [15]),
        ((1 / 3, 1 / 2, 2 / 3), [10, 15, 20]),
        ((0.4, 0.45), [10, 15]),
    ],
)
def test_layers_are_the_nearest_ones_recorded(depths, layers) -> None:
    one = replace(trace(["x"]), hidden={n: np.full((1, 2), n) for n in (30, 10, 20, 15)})
    assert states_of(one, depths).tolist() == [[n for n in layers for _ in range(2)]]


def test_a_layer_stands_once_where_few_were_recorded() -> None:
    assert states_of(trace(["x"], hidden=[[1, 2]]), (1 / 3, 1 / 2, 2 / 3)).shape == (1, 2)
    with pytest.raises(InsufficientData, match="no hidden states"):
        states_of(trace(["x"]), (1.0,))


def test_tables_hold_so_many_tokens_of_each_answer() -> None:
    some = states(0, 3, TOKENS + 4)
    drawn = TOKEN.known_states(some, drawn_tokens)
    assert [s.shape for s in drawn] == [(TOKENS, 8)] * 3
    again = TOKEN.known_states(states(0, 3, TOKENS + 4), drawn_tokens)
    assert all(np.array_equal(a, b) for a, b in zip(again, drawn, strict=True))
    assert sum(map(len, TOKEN.known_states(some))) == 3 * (TOKENS + 4)


def test_states_that_are_no_numbers_are_left_out() -> None:
    some = states(0, 2, 3)
    some[0].trace.hidden[1][1] = np.nan
    assert list(map(len, TOKEN.known_states(some))) == [2, 3]
    with pytest.raises(InsufficientData):
        TOKEN.known_states([Generation(trace(["x"], hidden=[[np.inf, 0]]))])


def test_no_number_in_a_state_no_score_from_there_on() -> None:
    some = states(0, 6, 4) + states(1, 6, 4, shift=3)
    monitor = TOKEN.fit(some, np.arange(12) >= 6)
    some[0].trace.hidden[1][2] = np.nan
    assert np.isnan(monitor(some)[0]).tolist() == [False, False, True, True]
    assert np.isfinite(monitor(some)[1]).all()


def answers(n: int, seed: int = 0) -> tuple[list[Generation], np.ndarray]:
    """Token 5 is likely where the answer is safe; all others are noise."""
    draw = np.random.default_rng(seed)
    unsafe = np.arange(n) % 2 == 1
    seen = []
    for u in unsafe:
        logp = dict.fromkeys(range(20), 0.0) | {k: float(draw.normal()) for k in range(20)}
        logp[5] += 0.0 if u else 4.0
        best = sorted(logp, key=logp.get, reverse=True)[:12]
        seen.append(Generation(trace(["x", "y"], first={k: logp[k] for k in best})))
    return seen, unsafe


def test_the_telling_token_is_found() -> None:
    monitor = FirstToken().fit(*answers(80))
    seen, unsafe = answers(40, seed=1)
    scores = np.array([s[0] for s in monitor(seen)])
    assert ((scores > 0) == unsafe).mean() > 0.9
    assert np.abs(monitor.model.coef_[0]).argmax() == 5


def test_one_score_for_the_whole_answer() -> None:
    monitor = FirstToken().fit(*answers(20))
    assert all(len(set(s)) == 1 for s in monitor(answers(4)[0]))


def test_features_are_nats_above_the_least() -> None:
    table = first_tokens(
        [
            trace(["x"], first={3: -1.0, 0: -4.0}),
            trace(["x"], first={9: -2.0}),
        ],
        5,
    )
    assert table.toarray().tolist() == [[0, 0, 0, 3, 0], [0, 0, 0, 0, 0]]


def test_what_was_not_recorded_is_said() -> None:
    with pytest.raises(InsufficientData, match="not recorded"):
        FirstToken().fit([Generation(trace(["x"]))] * 4, np.array([True, True, False, False]))


def test_distances_are_in_units_of_the_spread() -> None:
    safe = states(0, 200, 10)
    for s in safe:
        s.trace.hidden[1][:, 1] *= 5
    far, wide = states(1, 1, 1), states(1, 1, 1)
    for s in (*far, *wide):
        s.trace.hidden[1][:] = 0
    far[0].trace.hidden[1][0, 0], wide[0].trace.hidden[1][0, 1] = 10, 10
    monitor = Mahalanobis().fit([*safe, *far], np.arange(201) == 200)
    assert monitor(far)[0][0] == pytest.approx(10, rel=0.1)
    assert monitor(wide)[0][0] == pytest.approx(2, rel=0.1)


def test_distances_are_scikit_learns() -> None:
    seen = states(0, 40, 6)
    monitor = Mahalanobis().fit([*seen, *states(1, 1, 6)], np.arange(41) == 40)
    rows = np.concatenate([s.trace.hidden[1] for s in seen]).astype(np.float32)
    wanted = np.sqrt(LedoitWolf().fit(rows).mahalanobis(rows))
    assert monitor.token_scores(rows) == pytest.approx(wanted, rel=1e-4)


def test_a_huge_state_beside_small_ones_does_not_spoil_distances() -> None:
    """As in Gemma 3; in float32 distances are wrong by their size, or there is no covariance."""
    seen = states(0, 400, 6)
    for s in seen:
        hidden = s.trace.hidden[1].astype(np.float32)
        hidden[:, 2] = hidden[:, 2] * 3e4 + 3e9
        hidden[:, 3] = hidden[:, 2] / 2
        s.trace.hidden[1] = hidden
    monitor = Mahalanobis().fit([*seen, *states(1, 1, 6)], np.arange(401) == 400)
    safe = [drawn_tokens(s.trace.hidden[1]) for s in seen]
    rows = np.concatenate(safe).astype(np.float64)
    wanted = np.sqrt(LedoitWolf().fit(rows).mahalanobis(rows))
    assert monitor.token_scores(rows) == pytest.approx(wanted, rel=1e-3)


def test_unsafe_answers_are_not_learned_from() -> None:
    safe, unsafe = states(0, 20, 4), states(1, 20, 4, shift=50)
    labels = np.arange(40) >= 20
    scores = Mahalanobis().fit(safe + unsafe, labels)(safe + unsafe)
    assert min(s[-1] for s in scores[20:]) > 5 * max(s[-1] for s in scores[:20])


FORTY = np.arange(40) >= 20


@given(st.integers(0, 50), st.integers(2, 12))
def test_no_training_point_is_outside(seed: int, tokens: int) -> None:
    seen = states(seed, 20, tokens) + states(seed + 1, 20, tokens, shift=9)
    scores = Box().fit(seen, FORTY)(seen)
    assert max(s.max() for s in scores[:20]) == 0
    assert max(s.max() for s in scores[20:]) > 0


def test_distance_is_in_radii() -> None:
    low, high = np.array([[-1.0, -1.0]]), np.array([[1.0, 1.0]])
    points = np.array([[0, 0], [1, 1], [2, 0], [3, 0], [2, 2]])
    assert outside(points, low, high) == pytest.approx([0, 0, 1, 2, 1])


def test_the_nearest_box_counts() -> None:
    low, high = np.array([[-1.0], [9.0]]), np.array([[1.0], [11.0]])
    assert outside(np.array([[5.0], [8.0], [10.0]]), low, high) == pytest.approx([4, 1, 0])


def test_clusters_grow_while_they_pay() -> None:
    draw = np.random.default_rng(0)
    three = np.concatenate([draw.normal(c, 0.01, (50, 2)) for c in (0, 5, 9)])
    assert len(set(clusters(three, gain=0.7, most=10))) == 3
    assert set(clusters(np.zeros((4, 2)), gain=0.07, most=10)) == {0}


def test_the_score_never_falls() -> None:
    seen = states(0, 20, 8) + states(1, 20, 8, shift=9)
    assert all((np.diff(s) >= 0).all() for s in Box().fit(seen, FORTY)(seen))


CORNERS = np.array([[0, 0], [9, 0], [0, 9]])
ODD = np.arange(60) % 2 == 1


def walks(paths) -> list[Generation]:
    draw, found = np.random.default_rng(0), []
    for i in range(60):
        hidden = CORNERS[paths[i % 2]] + draw.normal(size=(len(paths[i % 2]), 2)) * 0.1
        found.append(Generation(trace(["x"] * len(hidden), hidden=hidden)))
    return found


def test_states_that_only_unsafe_answers_visit_are_found() -> None:
    some = walks([[0, 1, 0, 1], [0, 1, 2, 1]])
    found = AbstractStates(clusters=3).fit(some, ODD)(some)
    assert auroc(ODD, [s[-1] for s in found]) == 1
    assert auroc(ODD, [s[1] for s in found]) == 0.5  # as far as they are alike


def test_steps_count_where_states_do_not_tell() -> None:
    """Both kinds visit the same states equally often, in another order."""
    some = walks([[0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 2, 1]])
    found = AbstractStates(clusters=3).fit(some, ODD)(some)
    assert auroc(ODD, [s[-1] for s in found]) == 1


def test_scores_are_shares_of_unsafe_answers() -> None:
    some = walks([[0, 1, 0, 1], [0, 1, 2, 1]])
    found = np.concatenate(AbstractStates().fit(some, ODD)(some))
    assert ((found > 0) & (found < 1)).all()


EVERY_OTHER = np.arange(40) % 2 == 1
ALL = all_monitors()
HYBRIDS = [m for m in MONITORS if isinstance(m, Hybrid)]


def with_entropy() -> list[Generation]:
    draw = np.random.default_rng(5)
    return [
        replace(g, trace=replace(g.trace, entropy=draw.random(6) + u))
        for g, u in zip(states(0, 40, 6), EVERY_OTHER, strict=True)
    ]


def test_z_scores_are_averaged() -> None:
    one, two = ALL["average entropy"], ALL["clock"]
    found = Hybrid(name="h", members=(one, two)).fit(with_entropy(), EVERY_OTHER)(with_entropy())
    parts = [np.array(m(with_entropy())) for m in (one, two)]
    wanted = np.mean([(p - p.mean()) / p.std() for p in parts], axis=0)
    assert np.array(found) == pytest.approx(wanted)


def test_ranks_are_shares_of_training_tokens_that_score_less() -> None:
    one, two = ALL["average entropy"], ALL["clock"]
    found = Hybrid(name="h", members=(one, two), by_rank=True).fit(with_entropy(), EVERY_OTHER)(
        with_entropy()
    )
    parts = [np.array(m(with_entropy())) for m in (one, two)]
    wanted = np.mean([(stats.rankdata(p).reshape(p.shape) - 0.5) / p.size for p in parts], axis=0)
    assert np.array(found) == pytest.approx(wanted)


def test_no_score_of_a_member_is_none_of_the_hybrid() -> None:
    fitted = Hybrid(name="h", members=(ALL["average entropy"], ALL["clock"]), by_rank=True).fit(
        with_entropy(), EVERY_OTHER
    )
    entropy = [0.1, np.nan, 0.2]
    assert np.isnan(fitted([Generation(trace(["x"] * 3, entropy=entropy))])[0]).tolist() == [
        False, True, True,
    ]  # fmt: skip


def test_hybrids_are_those_named_before_any_number_was_seen() -> None:
    found = {m.name: tuple(x.name for x in m.members) for m in HYBRIDS}
    assert found.pop(claims.PROBES) == ("prefix probe", "token probe")
    assert found == claims.HYBRIDS
    assert {m.access for m in HYBRIDS} == {"white box"}


def test_members_fitted_once_give_the_same_scores() -> None:
    answers = generations(60)
    whole = evaluate_monitors([ALL["prefix + token probe"]], answers)
    beside = evaluate_monitors([ALL["token probe"], ALL["prefix + token probe"]], answers)
    beside = beside[beside["monitor"] == "prefix + token probe"]
    assert np.allclose(whole["score"], beside["score"], atol=1e-5)
    alone = evaluate_monitors([ALL["token probe"]], answers)
    both = evaluate_monitors([ALL["prefix + token probe"], ALL["token probe"]], answers)
    assert np.allclose(alone["score"], both[both["monitor"] == "token probe"]["score"], atol=1e-5)
