from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from lvray.evidence.calibration import Line, calibration


def test_against_least_squares_of_statsmodels() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(90, 25, 40)
    estimate = 20 + 0.7 * truth + rng.normal(0, 8, 40)
    found = calibration(estimate, truth)
    fit = sm.OLS(truth, sm.add_constant(estimate)).fit()
    assert (found.intercept_g, found.slope) == pytest.approx(tuple(fit.params))
    assert [*found.intercept_95, *found.slope_95] == pytest.approx(list(fit.conf_int(0.05).ravel()))


def test_an_estimate_shrunk_to_the_mean_has_a_slope_above_1() -> None:
    truth = np.linspace(60, 120, 9)
    found = calibration(90 + (truth - 90) / 2, truth)
    assert (found.slope, found.intercept_g) == pytest.approx((2.0, -90.0))


def test_what_is_not_estimable() -> None:
    truth = np.linspace(60, 120, 9)
    assert calibration(np.full(9, 90.0), truth) == Line()
    assert calibration([1.0, 2.0], [1.0, 2.0]) == Line()
    three = calibration([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    assert three.slope == pytest.approx(1.5)
    assert three.slope_95 == (None, None)
