"""Paired tests and ranks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.online.made_studies import made_study
from trustllm_repro.online.studies.pairs import median_p, pairs, ranking
from trustllm_repro.online.studies.scores import paired_auroc


@pytest.mark.parametrize(
    ("p", "expected"), [((0.01, 0.02, 0.9), 0.04), ((0.8, 0.9), 1), ((0.1, np.nan), 0.2)]
)
def test_median_p(p, expected) -> None:
    assert median_p(p) == pytest.approx(expected)
    assert np.isnan(median_p([np.nan]))


def test_median_p_keeps_its_level_over_dependent_splits() -> None:
    """Twice the median of p-values that are uniform, and alike but for noise, is small seldom."""
    draw = np.random.default_rng(0)
    common = draw.normal(size=(2000, 1))
    z = 0.9 * common + np.sqrt(1 - 0.81) * draw.normal(size=(2000, 5))
    found = [median_p(row) for row in 2 * stats.norm.sf(np.abs(z))]
    assert np.mean(np.array(found) <= 0.05) <= 0.05


def test_pairs_are_those_of_every_seed() -> None:
    study = made_study()
    found = {(x["monitor"], x["other"]): x for x in pairs(study)}
    assert len(found) == 3  # of three monitors; always and never stand in none
    one, two = study.tried["good"], study.tried["poor"]
    each = [
        paired_auroc(
            study.answered.unsafe[a.split.test],
            np.array([s.max() for s in a.test]),
            np.array([s.max() for s in b.test]),
        )
        for a, b in zip(one, two, strict=True)
    ]
    line = found["good", "poor"]
    assert line["difference"] == pytest.approx(np.mean([g for g, _ in each]))
    assert line["p"] == pytest.approx(min(1, 2 * np.median([p for _, p in each])))
    assert line["difference"] > 0.2
    assert line["q"] < 0.01 <= found["poor", "random"]["q"]
    assert all(x["q"] >= x["p"] for x in found.values())


def test_ranks_critical_difference_of_demsar() -> None:
    """k = 4, N = 14: Demsar's table 5 has q = 2.569, and his example a critical difference of 1.25."""
    draw = np.random.default_rng(0)
    areas = pd.DataFrame(draw.random((14, 4)), columns=list("abcd"))
    areas["a"] += 1
    found = ranking(areas)
    assert found.critical == pytest.approx(1.25, abs=0.005)
    assert found.ranks.index[0] == "a"
    assert found.ranks["a"] == 1
    assert found.p == pytest.approx(stats.friedmanchisquare(*areas.T.to_numpy()).pvalue)
    assert found.ranks.mean() == pytest.approx(2.5)


def test_ranks_need_values_in_every_cell() -> None:
    areas = pd.DataFrame({"a": [0.6, 0.7], "b": [0.5, np.nan], "c": [0.4, 0.8]})
    found = ranking(areas)
    assert list(found.ranks.index) == ["a", "c"] or list(found.ranks.index) == ["c", "a"]
    assert np.isnan(found.critical)
    assert np.isnan(found.p)
