from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from lvray.evidence.limits import Limits, limits


def _noncentral_t_cdf(x: float, df: int, delta: float) -> float:
    """By its definition, (normal + delta) / sqrt(chi2 / df), integrated over the chi."""
    def at(chi: float) -> float:
        return float(stats.norm.cdf(x * chi / math.sqrt(df) - delta) * stats.chi.pdf(chi, df))

    centre = math.sqrt(df)
    return float(integrate.quad(at, max(0.0, centre - 9), centre + 9, epsabs=1e-12, limit=200)[0])


@pytest.mark.parametrize("n", [4, 10, 100, 891])
def test_the_limits_intervals_are_exact(n: int) -> None:
    rng = np.random.default_rng(n)
    differences = rng.normal(3, 13, n)
    found = limits(differences)
    mean, sd = differences.mean(), differences.std(ddof=1)
    assert (found.low, found.high) == pytest.approx((mean - 1.959964 * sd, mean + 1.959964 * sd), abs=1e-4)
    for bound, share in ((found.high_low, 0.025), (found.high_high, 0.975)):
        assert bound is not None
        x = math.sqrt(n) * (bound - mean) / sd
        assert _noncentral_t_cdf(x, n - 1, 1.959963984540054 * math.sqrt(n)) == pytest.approx(share, abs=1e-6)
    mirrored = limits(-differences)
    assert (found.low_low, found.low_high) == pytest.approx((-mirrored.high_high, -mirrored.high_low))  # type: ignore[operator]


def test_bland_and_altmans_approximation_is_close_at_891_and_wrong_at_10() -> None:
    def half_widths(n: int) -> tuple[float, float, float]:
        differences = stats.norm.ppf((np.arange(n) + 0.5) / n)
        found = limits(differences)
        assert found.high is not None
        assert found.high_low is not None
        assert found.high_high is not None
        approximate = stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) * math.sqrt(
            1 / n + 1.959964**2 / (2 * (n - 1)))  # Bland and Altman 1999, section 2
        return found.high - found.high_low, found.high_high - found.high, float(approximate)

    below, above, approximate = half_widths(891)
    assert (below, above) == pytest.approx((approximate, approximate), rel=0.05)
    below, above, approximate = half_widths(10)
    assert below < 0.75 * approximate  # the exact interval is far from symmetric
    assert above > 1.3 * approximate


def test_too_few_or_no_spread() -> None:
    assert limits(np.array([1.0, 2.0, 3.0])) == Limits()
    found = limits(np.full(9, 2.0))
    assert (found.low_low, found.low, found.high_high) == (2.0, 2.0, 2.0)
