"""Agreement of judges: counts and figures, and nothing where there is nothing to agree on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from tools.judges.agreement import groups, kappa, of_labels, of_scores

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
scored = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60)


@given(pairs)
def test_labels_as_scikit_learn(rows) -> None:
    truth, said = (np.array(c, bool) for c in zip(*rows, strict=True))
    found = of_labels(truth, said)
    tn, fp, fn, tp = metrics.confusion_matrix(truth, said, labels=[False, True]).ravel()
    assert [found[k] for k in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
    assert found["n"] == len(rows)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said), abs=1e-4)
    if found["kappa"] is None:
        assert len({*truth.tolist(), *said.tolist()}) == 1
    else:
        assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(truth, said), abs=1e-4)
    if truth.any():
        assert found["sensitivity"] == pytest.approx(metrics.recall_score(truth, said), abs=1e-4)
    else:
        assert found["sensitivity"] is None


@given(scored)
def test_auroc_as_scikit_learn_ties_included(rows) -> None:
    truth, scores = np.array([r[0] for r in rows]), np.array([float(r[1]) for r in rows])
    found = of_labels(truth, truth, scores)["auroc"]
    if truth.all() or not truth.any():
        assert found is None
    else:
        assert found == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-4)


@given(pairs)
def test_kappa_of_counts_is_that_of_the_pairs_they_count(rows) -> None:
    truth, said = zip(*rows, strict=True)
    counts = [rows.count(pair) for pair in [(True, True), (False, True), (True, False)]]
    counts.append(len(rows) - sum(counts))
    assert kappa([1, 0, 1, 0], [1, 1, 0, 0], counts) == kappa(truth, said)


def test_kappa_of_an_empty_table() -> None:
    assert kappa([1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]) is None


def test_no_scores_no_auroc() -> None:
    truth = np.array([True, False])
    assert "auroc" not in of_labels(truth, truth)
    assert of_labels(truth, truth, np.array([0.9, 0.1]))["auroc"] == 1
    assert of_labels(truth[:1], truth[:1], np.array([0.9]))["auroc"] is None


def test_scores_as_scipy() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(200)
    said = np.clip(truth + rng.normal(0, 0.2, 200), 0, 1)
    found = of_scores(truth, said)
    assert found["spearman"] == pytest.approx(stats.spearmanr(truth, said)[0], abs=1e-4)
    assert found["pearson"] == pytest.approx(np.corrcoef(truth, said)[0, 1], abs=1e-4)
    assert found["mae"] == pytest.approx(np.abs(truth - said).mean(), abs=1e-4)
    assert found["n"] == 200


def test_groups_are_in_order_and_share_out_the_rows() -> None:
    found = groups(["b", "a", "b", "c"])
    assert list(found) == ["a", "b", "c"]
    assert sum(found.values()).tolist() == [1, 1, 1, 1]
    assert found["b"].tolist() == [True, False, True, False]
