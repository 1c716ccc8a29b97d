from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lvray.evidence.bootstrap import MIN_PEOPLE, bca, mean_absolute_error_interval


def _bca_of_the_mean(x: NDArray[np.float64], draws: int) -> tuple[float, float]:
    """Efron's formulas, with the mean's acceleration in closed form."""
    rng = np.random.default_rng(99)
    means = np.sort(rng.choice(x, (draws, len(x))).mean(1))
    z0 = stats.norm.ppf((means < x.mean()).mean())
    d = x - x.mean()
    a = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    z = z0 + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(means, stats.norm.cdf(z0 + z / (1 - a * z)))
    return float(low), float(high)


@pytest.mark.parametrize("n", [25, 200])
def test_against_a_second_implementation(n: int) -> None:
    rng = np.random.default_rng(n)
    truth = rng.normal(90, 25, n)
    estimate = truth + 10 * rng.standard_t(4, n)
    found = mean_absolute_error_interval(estimate, truth)
    error = np.abs(estimate - truth)
    width = 4 * error.std() / np.sqrt(n)
    assert found == pytest.approx(_bca_of_the_mean(error, 40000), abs=0.04 * width)
    assert found == mean_absolute_error_interval(estimate, truth)  # the same at each call


def test_people_are_drawn_with_all_their_columns() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(90, 25, 40), rng.normal(90, 25, 40)

    def mean_difference(x: NDArray[np.float64], y: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.asarray(np.mean(x - y, axis=axis))

    assert bca(mean_difference, a, b) == pytest.approx(bca(np.mean, a - b), abs=1e-9)


def test_too_few_people_and_no_spread_have_no_interval() -> None:
    few = np.arange(MIN_PEOPLE - 1, dtype=float)
    assert mean_absolute_error_interval(few, few * 0) == (None, None)
    assert mean_absolute_error_interval(np.full(50, 0.1), np.zeros(50)) == (None, None)
    assert bca(lambda x, axis: np.full(x.shape[:-1], 3.0), np.arange(50.0)) == (None, None)
