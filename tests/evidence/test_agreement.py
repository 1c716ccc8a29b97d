from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from lvray.evidence.agreement import (
    agreement,
    compare_correlations,
    fisher_interval,
    margin,
    pearson,
    predict_the_mean,
    williams,
)

N = 891
"""Holdout people of Khurshid 2021."""


@pytest.mark.parametrize(("r", "low", "high"), [(0.864, 0.847, 0.880), (0.843, 0.823, 0.861), (0.795, 0.770, 0.818)])
def test_fisher_interval_reproduces_the_papers(r: float, low: float, high: float) -> None:
    assert fisher_interval(r, N) == pytest.approx((low, high), abs=0.001)  # r and the bounds are rounded to .001


@pytest.mark.parametrize(("mae", "low", "high", "sd"), [
    (10.41, 9.82, 10.99, 8.9),
    (10.51, 9.86, 11.15, 9.8),
    (14.30, 13.46, 15.14, 12.8),  # the upper bound is printed as 11.01, below the MAE itself: a misprint
])
def test_mae_interval_is_the_papers_for_the_sd_it_implies(mae: float, low: float, high: float, sd: float) -> None:
    error = np.repeat([mae - sd, mae, mae + sd], [N // 2, 1, N // 2])  # mean mae, SD sd
    found = agreement(error, np.zeros(N))
    assert found.mae_g == pytest.approx(mae)
    assert (found.mae_low, found.mae_high) == pytest.approx((low, high), abs=0.011)


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


def test_williams_gives_the_papers_p_for_a_plausible_correlation_of_the_two_networks() -> None:
    # The paper prints P = .01 but not how the networks correlate: by .85 to .89 is what that P implies.
    p = {r_ab: found[1] for r_ab in (0.80, 0.85, 0.87, 0.89, 0.91) if (found := williams(0.864, 0.843, r_ab, N))}
    assert [r_ab for r_ab, value in p.items() if 0.005 <= value < 0.015] == [0.85, 0.87, 0.89]


def test_williams_holds_its_size() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(90, 25, (1500, 60))
    a, b = (truth + rng.normal(0, 15, truth.shape) for _ in range(2))
    p = [compare_correlations(x, y, t) for x, y, t in zip(a, b, truth, strict=True)]
    rejected = np.mean([q is not None and q < 0.05 for q in p])
    assert 0.035 <= rejected <= 0.065


def test_coverage_of_the_intervals() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(90, 25, (2000, 100))
    estimate = truth + rng.normal(3, 12, truth.shape)
    rho = 25 / math.hypot(25, 12)
    mae = stats.foldnorm(3 / 12, scale=12).mean()
    mean_error = stats.halfnorm(scale=25).mean()
    inside = {"r": 0, "mae": 0, "margin": 0}
    for e, t in zip(estimate, truth, strict=True):
        a, m = agreement(e, t), margin(e, np.full(100, 90.0), t)
        inside["r"] += a.r_low <= rho <= a.r_high  # type: ignore[operator]
        inside["mae"] += a.mae_low <= mae <= a.mae_high  # type: ignore[operator]
        inside["margin"] += m.low <= mean_error - mae <= m.high  # type: ignore[operator]
    assert all(0.935 <= hits / 2000 <= 0.965 for hits in inside.values()), inside


def test_agreement_with_a_second_implementation() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(90, 25, 40)
    estimate = truth + rng.normal(5, 10, 40)
    found = agreement(estimate, truth)
    r = stats.pearsonr(estimate, truth)
    interval = r.confidence_interval(0.95)
    assert (found.r, found.r_low, found.r_high) == pytest.approx((r.statistic, interval.low, interval.high), abs=1e-12)
    error = np.abs(estimate - truth)
    t = stats.t.interval(0.95, 39, loc=error.mean(), scale=stats.sem(error))
    assert (found.mae_g, found.mae_low, found.mae_high) == pytest.approx((error.mean(), *t), abs=1e-9)
    assert found.bias_g == pytest.approx((estimate - truth).mean())
    assert found.loa_high == pytest.approx((estimate - truth).mean() + 1.96 * (estimate - truth).std(ddof=1), abs=1e-2)


def test_agreement_by_hand() -> None:
    found = agreement([10.0, 22.0, 33.0, 37.0], [10.0, 20.0, 30.0, 40.0])
    assert (found.n, found.mae_g, found.bias_g) == (4, 2.0, 0.5)
    assert found.sd_g == pytest.approx(math.sqrt(21 / 3))


@pytest.mark.parametrize("n", range(4))
def test_few_people_have_no_interval(n: int) -> None:
    truth = np.arange(n, dtype=float)
    found = dataclasses.asdict(agreement(truth * 1.1 + 1, truth))
    given = {"n", *(("mae_g", "bias_g") if n else ()), *(("r",) if n == 3 else ())}
    assert {key for key, value in found.items() if value is not None} == given


@pytest.mark.parametrize("constant", [0.0, 88.8, 1 / 3])
def test_a_constant_estimate_has_no_correlation(constant: float) -> None:
    truth = np.linspace(60, 120, 9)
    found = agreement(np.full(9, constant), truth)
    assert (found.r, found.r_low, found.r_high) == (None, None, None)
    assert found.mae_g is not None
    assert compare_correlations(np.full(9, constant), truth, truth) is None


def test_perfect_agreement_is_finite() -> None:
    truth = np.linspace(60, 120, 9)
    found = agreement(truth, truth)
    assert found.r == pytest.approx(1.0)
    assert all(math.isfinite(value) for value in dataclasses.astuple(found) if value is not None)
    assert compare_correlations(truth, 2 * truth, truth) is None


@pytest.mark.parametrize(("estimate", "truth", "words"), [
    ([1.0, math.nan], [1.0, 2.0], "finite"), ([1.0], [1.0, 2.0], "one length"), ([[1.0]], [[1.0]], "one length"),
])
def test_bad_columns_are_a_programmers_error(estimate: list[float], truth: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        agreement(estimate, truth)


def test_pearson_survives_a_large_offset() -> None:
    assert pearson([1e9 + 1, 1e9 + 2, 1e9 + 4], [1, 2, 4]) == pytest.approx(1.0)


def test_predict_the_mean_scores_the_papers_baseline() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(89.7037, 24.8037, 20000)  # the manual labels' mean and SD
    found = predict_the_mean(truth[:10000], truth[10000:])
    assert found.mae_g == pytest.approx(19.8, abs=0.3)
    assert found.r is None
    with pytest.raises(ValueError, match="no training label"):
        predict_the_mean([], truth)


def test_margin_is_positive_when_the_estimate_is_closer() -> None:
    truth, baseline = np.array([70.0, 80.0, 100.0, 110.0, 60.0]), np.full(5, 90.0)
    found = margin(truth + 2, baseline, truth)
    gain = np.array([20, 10, 10, 20, 30]) - 2.0
    assert found.n == 5
    assert found.margin_g == pytest.approx(gain.mean())
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 4, gain.mean(), stats.sem(gain)))
    assert margin(baseline, truth + 2, truth).margin_g == pytest.approx(-gain.mean())
    assert margin([1.0], [2.0], [3.0]).low is None
