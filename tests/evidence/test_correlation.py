from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from lvray.evidence.correlation import compare_correlations, concordance, fisher_interval, pearson, steiger, williams

N = 891
"""Holdout people of Khurshid 2021."""


@pytest.mark.parametrize(("r", "low", "high"), [(0.864, 0.847, 0.880), (0.843, 0.823, 0.861), (0.795, 0.770, 0.818)])
def test_fisher_interval_reproduces_the_papers(r: float, low: float, high: float) -> None:
    assert fisher_interval(r, N) == pytest.approx((low, high), abs=0.001)  # r and the bounds are rounded to .001


# Silver, Hittner and May, A FORTRAN 77 program for comparing dependent correlations, Applied Psychological Measurement
# 2006;30:152-153: what their program (depcor) prints for r = .3 and .4, .5 between the two, n = 100; read in the tests
# of the R package cocor (Diedenhofen and Musch 2015).
DEPCOR = (0.3, 0.4, 0.5, 100)


def test_williams_prints_what_depcor_prints() -> None:
    found = williams(*DEPCOR)
    assert found is not None
    assert (round(found[0], 4), round(found[1], 4)) == (-1.0767, 0.2843)


def test_steiger_prints_what_depcor_prints() -> None:
    found = steiger(*DEPCOR)
    assert found is not None
    assert (round(found[0], 4), round(found[1], 4)) == (-1.0718, 0.2838)


def test_steiger_on_his_own_example() -> None:
    # Steiger 1980, p. 249, case A, as cocor's tests quote it: he prints -.8913 from rounded steps; by his formula the
    # exact value is -0.8887185.
    found = steiger(0.4, 0.5, 0.1, 103)
    assert found is not None
    assert round(found[0], 7) == -0.8887185
    assert found[0] == pytest.approx(-0.8913, abs=0.003)


def test_williams_on_howells_worked_example() -> None:
    # Howell, Statistical Methods for Psychology, 6th ed., p. 262: t(23) = 1.36
    found = williams(0.80, 0.72, 0.89, 26)
    assert found is not None
    assert found == pytest.approx((1.361, 0.187), abs=0.0006)


def test_williams_on_steigers_example() -> None:
    # Steiger 1980, as the R package psych prints it: t = -0.89, P < 0.37
    found = williams(0.4, 0.5, 0.1, 103)
    assert found is not None
    assert found == pytest.approx((-0.89, 0.37), abs=0.006)


def test_the_papers_p_implies_how_its_networks_correlate() -> None:
    # The paper prints P = .01 for r = .864 against .843, but not how the two networks correlate with each other. Taken
    # for independent, they would differ by P = .10; by Williams' test .01 implies a correlation of .87, and anything
    # that rounds to .01 one of .85 to .89.
    independent = (math.atanh(0.864) - math.atanh(0.843)) / math.sqrt(2 / (N - 3))
    assert round(float(2 * stats.norm.sf(independent)), 2) == 0.10

    def implied(p: float) -> float:
        return float(optimize.brentq(lambda r_ab: (williams(0.864, 0.843, r_ab, N) or (0, 0))[1] - p, 0.75, 0.95))

    assert [round(implied(p), 2) for p in (0.015, 0.01, 0.005)] == [0.85, 0.87, 0.89]
    at_implied = steiger(0.864, 0.843, implied(0.01), N)
    assert at_implied is not None
    assert at_implied[1] == pytest.approx(0.01, abs=0.0015)  # Steiger's test tells the same


def test_both_tests_hold_their_size() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(90, 25, (1500, 60))
    a, b = (truth + rng.normal(0, 15, truth.shape) for _ in range(2))
    p_williams = [compare_correlations(x, y, t)[0] for x, y, t in zip(a, b, truth, strict=True)]
    p_steiger = [found[1] for x, y, t in zip(a, b, truth, strict=True)
                 if (found := steiger(pearson(x, t) or 0, pearson(y, t) or 0, pearson(x, y) or 0, 60))]
    assert len(p_steiger) == 1500
    assert 0.035 <= np.mean([p is not None and p < 0.05 for p in p_williams]) <= 0.065
    assert 0.035 <= np.mean(np.array(p_steiger) < 0.05) <= 0.065


@pytest.mark.parametrize("r", [(1.0, 0.9, 0.9), (0.9, 0.9, 1.0), (0.9, 1.0, 0.9)])
def test_steiger_of_a_perfect_correlation_is_not_estimable(r: tuple[float, float, float]) -> None:
    assert steiger(*r, 50) is None


def test_compare_correlations_is_williams_and_steiger_of_the_columns() -> None:
    rng = np.random.default_rng(6)
    truth = rng.normal(90, 25, 50)
    a, b = truth + rng.normal(0, 10, 50), truth + rng.normal(0, 14, 50)
    at, bt, ab = (float(np.corrcoef(x, y)[0, 1]) for x, y in ((a, truth), (b, truth), (a, b)))
    found = williams(at, bt, ab, 50)
    steigers = steiger(at, bt, ab, 50)
    assert found is not None
    assert steigers is not None
    assert compare_correlations(a, b, truth) == pytest.approx((found[1], steigers[1]))


def test_pearson_survives_a_large_offset() -> None:
    assert pearson([1e9 + 1, 1e9 + 2, 1e9 + 4], [1, 2, 4]) == pytest.approx(1.0)


def _by_the_delta_method(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """SE of Fisher's z of Lin's coefficient times sqrt(n), from the moments' own covariances and a numeric gradient."""
    mean, cov = np.array([a.mean(), b.mean()]), np.cov(a, b, ddof=0)

    def z(m: NDArray[np.float64]) -> float:
        return math.atanh(2 * m[3] / (m[2] + m[4] + (m[0] - m[1]) ** 2))

    moments = np.array([*mean, cov[0, 0], cov[0, 1], cov[1, 1]])
    steps = 1e-6 * np.eye(5) * np.abs(moments)
    gradient = np.array([(z(moments + s) - z(moments - s)) / (2 * s.sum()) for s in steps])
    spread = np.zeros((5, 5))
    spread[:2, :2] = cov
    pairs = [(0, 0), (0, 1), (1, 1)]
    for i, (p, q) in enumerate(pairs):
        for j, (r, s) in enumerate(pairs):
            spread[2 + i, 2 + j] = cov[p, r] * cov[q, s] + cov[p, s] * cov[q, r]
    return float(math.sqrt(gradient @ spread @ gradient))


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (5.0, 1.0), (30.0, 0.7), (-20.0, 1.5)])
def test_concordance_against_the_delta_method(shift: float, scale: float) -> None:
    rng = np.random.default_rng(7)
    truth = rng.normal(90, 25, 60)
    estimate = shift + scale * truth + rng.normal(0, 13, 60)
    ccc, low, high = concordance(estimate, truth)
    expected = 2 * np.cov(estimate, truth, ddof=0)[0, 1] / (
        estimate.var() + truth.var() + (estimate.mean() - truth.mean()) ** 2)
    assert ccc == pytest.approx(expected, abs=1e-12)
    z, half = math.atanh(expected), 1.959964 * _by_the_delta_method(estimate, truth) / math.sqrt(58)
    assert (low, high) == pytest.approx((math.tanh(z - half), math.tanh(z + half)), abs=1e-6)


def test_concordance_is_less_than_r_where_there_is_a_bias() -> None:
    truth = np.linspace(60, 120, 9)
    assert concordance(truth, truth) == pytest.approx((1.0, 1.0, 1.0))
    ccc, low, high = concordance(truth + 20, truth)
    assert ccc == pytest.approx(2 * truth.var() / (2 * truth.var() + 400))  # by hand; r is 1
    assert low is not None
    assert high is not None
    assert low < (ccc or 0) < high
    assert concordance(np.full(9, 3.0), truth) == (None, None, None)
    assert concordance([1.0, 2, 3], [1.0, 2, 4])[1:] == (None, None)
