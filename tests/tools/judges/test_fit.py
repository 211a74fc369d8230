"""Fits: planted lines are found again, and the same numbers in give the same numbers out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats

from tools.judges import fit
from trustllm_repro.judges.learned import sigmoid, to_scale

N, COLUMNS = 400, 30


@pytest.fixture
def rows() -> tuple[sparse.csr_matrix, np.ndarray]:
    rng = np.random.default_rng(11)
    x = rng.random((N, COLUMNS)) * (rng.random((N, COLUMNS)) < 0.4)
    return sparse.csr_matrix(x), rng.random((N, 3))


def logistic(x, extra, targets, counts=None) -> fit.Line:
    n = len(targets)
    return fit.fit_logistic(fit.Rows(x, extra, targets, np.ones(n) if counts is None else counts))


def test_logistic_finds_a_planted_line(rows, monkeypatch) -> None:
    monkeypatch.setattr(fit, "REFUSAL_PENALTY", 1e-6)
    monkeypatch.setattr(fit, "REFUSAL_STEPS", 2000)
    x, extra = rows
    rng = np.random.default_rng(12)
    hashed, dense = rng.normal(size=COLUMNS), rng.normal(size=3)
    targets = sigmoid(x @ hashed + extra @ dense - 0.3)
    line = logistic(x, extra, targets)
    assert sigmoid(line(x, extra)) == pytest.approx(targets, abs=2e-3)
    assert line.hashed == pytest.approx(hashed, abs=0.05)
    assert line.bias == pytest.approx(-0.3, abs=0.05)


def test_logistic_fits_probabilities_not_only_labels(rows) -> None:
    x, extra = rows
    line = logistic(x, extra, np.full(N, 0.8))
    assert sigmoid(line(x, extra)) == pytest.approx(np.full(N, 0.8), abs=0.02)


def test_a_row_that_counts_as_three_is_as_good_as_three_rows(rows) -> None:
    x, extra = rows
    targets = (extra[:, 0] > 0.5).astype(float)
    some, once = np.arange(20), fit.Rows(x, extra, targets, np.ones(N))
    one = logistic(x, extra, targets, np.where(np.arange(N) < 20, 3.0, 1.0))
    two = fit.fit_logistic(once + once[some] + once[some])
    assert two.hashed == pytest.approx(one.hashed, abs=1e-3)
    assert two.bias == pytest.approx(one.bias, abs=1e-3)


def test_a_penalty_shrinks_the_weights(rows, monkeypatch) -> None:
    x, extra = rows
    targets = (extra[:, 0] > 0.5).astype(float)
    sizes = []
    for penalty in (0.1, 10.0):
        monkeypatch.setattr(fit, "REFUSAL_PENALTY", penalty)
        line = logistic(x, extra, targets)
        sizes.append(np.linalg.norm(np.append(line.hashed, line.dense)))
    assert sizes[1] < sizes[0] / 2


def test_ridge_finds_a_planted_order(rows) -> None:
    x, extra = rows
    hashed = np.random.default_rng(13).normal(size=COLUMNS)
    targets = sigmoid(x @ hashed + extra @ [2.0, -1.0, 0.0] - 2)
    line = fit.fit_ridge(x[:300], extra[:300], targets[:300], fit.products(x[:300]))
    rho = stats.spearmanr(line(x[300:], extra[300:]), targets[300:])[0]
    assert rho > 0.9


def test_ridge_weights_give_what_the_dual_gives(rows) -> None:
    """The line is stored as weights over columns; the dual it is solved in is thrown away."""
    x, extra = rows
    targets = np.linspace(0.01, 0.9, N)
    gram = fit.products(x)
    assert gram == pytest.approx((x @ x.T).toarray())
    line = fit.fit_ridge(x, extra, targets, gram)
    wanted = np.log(targets + 0.01)
    scaled = (extra - extra.mean(0)) / (extra.std(0) + 1e-9) / np.sqrt(3)
    both = (gram / (np.trace(gram) / N) + scaled @ scaled.T) / 2
    ridge = both + fit.TOXICITY_PENALTY * np.eye(N)
    expected = both @ np.linalg.solve(ridge, wanted - wanted.mean()) + wanted.mean()
    assert line(x, extra) == pytest.approx(expected, abs=1e-8)


def test_the_same_numbers_give_the_same_weights(rows) -> None:
    x, extra = rows
    targets = np.linspace(0, 1, N)
    models = np.array(["a", "b"] * (N // 2))
    one, two = (logistic(x, extra, targets) for _ in range(2))
    assert np.array_equal(one.hashed, two.hashed)
    one, two = (fit.fit_toxicity(x, extra, targets, models, fit.products(x)) for _ in range(2))
    assert np.array_equal(one.line.hashed, two.line.hashed)
    assert np.array_equal(one.knots, two.knots)


numbers = st.floats(-20, 20, allow_nan=False).map(lambda v: round(v, 3))
cases = st.lists(
    st.tuples(numbers, st.floats(0, 1)), min_size=12, max_size=80, unique_by=lambda c: c[0]
)


@given(cases)
def test_knots_rise_and_the_scale_stays_within_0_and_1(rows) -> None:
    sums, targets = (np.array(c, float) for c in zip(*rows, strict=True))
    found = fit.knots(sums, targets)
    assert found.shape == (2, 14)
    assert (np.diff(found[0]) >= 0).all()
    assert (np.diff(found[1][1:-1]) > 0).all()
    scores = to_scale(np.sort(np.append(sums, [-1e6, 1e6])), found)
    assert (np.diff(scores) >= 0).all()
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_knots_give_back_the_mean() -> None:
    """Averages are what the paper's table shows: the scale must not shift them."""
    rng = np.random.default_rng(5)
    sums = rng.normal(-2, 1, 2000)
    targets = np.clip(np.exp(sums) + rng.normal(0, 0.05, 2000), 0, 1)
    assert to_scale(sums, fit.knots(sums, targets)).mean() == pytest.approx(
        targets.mean(), abs=0.01
    )


def test_toxicity_scores_models_it_has_not_seen(rows) -> None:
    x, extra = rows
    targets = sigmoid(3 * extra[:, 0] - 3)
    models = np.array([f"m{i % 4}" for i in range(N)])
    known = models != "m3"
    gram = fit.products(x)[np.ix_(known, known)]
    made = fit.fit_toxicity(x[known], extra[known], targets[known], models[known], gram)
    said = made(x[~known], extra[~known])
    assert stats.spearmanr(said, targets[~known])[0] > 0.8
    assert said.mean() == pytest.approx(targets[~known].mean(), abs=0.05)
