from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from lvray.errors import UseError
from lvray.evidence import conformal
from lvray.evidence.centering import Centering
from lvray.evidence.conformal import Intervals, coverage, fewest

ABOUT = {"method": "ML4Hseg", "kind": "phantom", "weights_sha256": "ab12", "data": "cd34"}


def fit(errors: list[float], sexes: Sequence[str | None] | None = None, **more: Any) -> Intervals:
    return conformal.fit([100.0 + e for e in errors], [100.0] * len(errors), sexes or [None] * len(errors),
                         **{**ABOUT, **more})


@pytest.mark.parametrize(("n", "kth"), [(9, 9), (10, 10), (19, 18), (29, 27), (99, 90), (100, 91)])
def test_the_half_width_is_the_right_order_statistic(n: int, kth: int) -> None:
    errors = [float(e) * (-1) ** e for e in range(1, n + 1)]  # |errors| 1 to n, of both signs
    rng = np.random.default_rng(n)
    found = fit([errors[i] for i in rng.permutation(n)])
    assert found.half_g == pytest.approx(kth)


def test_an_interval_is_around_the_estimate_and_never_below_nothing() -> None:
    found = fit([5.0] * 20)
    assert found.of(90.0, None) == pytest.approx((85.0, 95.0))
    assert found.of(3.0, "male") == pytest.approx((0.0, 8.0))


def test_an_estimate_is_centred_first_as_its_calibration_was() -> None:
    centering = Centering(20.0, {"male": 30.0}, 10, {"male": 10})
    errors = [30.0 + e for e in range(-10, 10)]
    found = fit(errors, ["male"] * 20, centering=centering)
    assert found.half_g == 9.0
    assert found.of(130.0, "male") == (91.0, 109.0)
    assert found.of(130.0, None) == (101.0, 119.0)
    assert Intervals.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_too_few_people_are_refused_with_the_number_needed() -> None:
    assert (fewest(0.90), fewest(0.95), fewest(0.5)) == (9, 19, 1)
    with pytest.raises(UseError, match=r"8 calibration people .* 9 are needed for level 0.9;"):
        fit([1.0] * 8)
    with pytest.raises(UseError, match="19 are needed"):
        fit([1.0] * 18, level=0.95)


def test_each_sex_has_its_own_where_it_has_enough_people() -> None:
    errors = [20.0] * 40 + [5.0] * 39 + [1.0] * 10
    found = fit(errors, ["male"] * 40 + ["female"] * 39 + [None] * 10)
    assert (found.n, found.n_by_sex, found.half_g_by_sex) == (89, {"male": 40, "female": 39}, {"male": 20.0})
    assert found.of(100.0, "female") == found.of(100.0, None) == pytest.approx((80.0, 120.0))
    assert found.of(100.0, "male") == pytest.approx((80.0, 120.0))


def test_a_sex_is_covered_where_the_marginal_interval_would_fail_it() -> None:
    rng = np.random.default_rng(1)
    errors = [*rng.normal(0, 20, 600), *rng.normal(0, 5, 600)]
    found = fit([float(e) for e in errors], ["male"] * 600 + ["female"] * 600)
    for sex, sd in (("male", 20), ("female", 5)):
        low, high = found.of(1000.0, sex)
        assert stats.norm.cdf(high - 1000, 0, sd) - stats.norm.cdf(low - 1000, 0, sd) == pytest.approx(0.90, abs=0.03)


@pytest.mark.parametrize("n", [9, 40, 101])
def test_coverage_of_new_people_is_what_theory_says(n: int) -> None:
    """k / (n + 1) on average, whatever the distribution: here a skewed one."""
    rng = np.random.default_rng(2)
    hit = [stats.expon.cdf(fit(list(rng.exponential(1, n))).half_g) for _ in range(600)]
    k = int(np.ceil(round((n + 1) * 0.9, 9)))
    assert np.mean(hit) == pytest.approx(k / (n + 1), abs=4 * np.std(hit) / np.sqrt(600))
    assert np.quantile(hit, [0.1, 0.9]) == pytest.approx(stats.beta.ppf([0.1, 0.9], k, n + 1 - k), abs=0.02)


def test_plain_data_and_back() -> None:
    found = fit([float(e) for e in range(100)], ["male", "female"] * 50)
    assert found.half_g_by_sex
    assert Intervals.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


@pytest.mark.parametrize("broken", [
    {}, {"half_g": float("nan")}, {"half_g": "12"}, {"kind": "other"}, {"level": 1.0}, {"n_by_sex": None},
    {"half_g_by_sex": 3}, {"half_g_by_sex": {"male": -1.0}}, {"more": 1}, {"n": "many"},
])
def test_what_is_not_ours_is_refused_in_one_line(broken: dict[str, Any]) -> None:
    plain = {**fit([1.0] * 20).to_dict(), **broken} if broken else {}
    with pytest.raises(UseError, match=r"^intervals: [^\n]*fit them again"):
        Intervals.from_dict(plain)


def test_expected_coverage_against_a_simulation() -> None:
    n, n_calibration, k = 60, 50, 46
    rng = np.random.default_rng(3)
    scores = np.sort(rng.random((20000, n_calibration)), 1)[:, k - 1]
    shares = (rng.random((20000, n)) <= scores[:, None]).mean(1)
    found = coverage(54, n, n_calibration)
    assert (found.expected_low, found.expected_high) == pytest.approx(
        tuple(np.quantile(shares, [0.025, 0.975])), abs=1.01 / n)
    assert found.expected_low is not None
    assert found.expected_high is not None
    assert 0.95 <= np.mean((shares >= found.expected_low) & (shares <= found.expected_high)) <= 0.98


def test_observed_coverage_has_clopper_and_pearsons_interval() -> None:
    found = coverage(54, 60, 50)
    assert (found.share, found.low, found.high) == pytest.approx(
        (0.9, *proportion_confint(54, 60, alpha=0.05, method="beta")))
    assert coverage(60, 60, 50).high == 1.0
    none = coverage(0, 0, 50)
    assert (none.share, none.low, none.expected_high) == (None, None, None)
    for wrong in ((5, 4, 50), (4, 5, 8)):
        with pytest.raises(ValueError, match="calibration people"):
            coverage(*wrong)
