from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from lvray.evidence.paired import compare


def _signed_rank_p(differences: list[float]) -> float:
    """Exact two-sided P of Wilcoxon's signed-rank test, by all signs (no ties, no zeros)."""
    ranks = stats.rankdata(np.abs(differences))
    observed = abs(float((np.sign(differences) * ranks).sum()))
    sums = [abs(float((np.array(signs) * ranks).sum())) for signs in product((-1, 1), repeat=len(ranks))]
    return float(np.mean(np.array(sums) >= observed - 1e-9))


def test_against_all_sign_flips_and_a_paired_t_test() -> None:
    truth = np.zeros(9)
    first = np.array([1.0, 2.5, 3.1, 0.4, 5.0, 2.2, 1.7, 4.4, 0.9])
    second = -np.array([3.0, 2.0, 6.3, 2.5, 4.1, 7.7, 3.2, 9.9, 1.6])
    found = compare(first, second, truth)
    gain = np.abs(second) - first
    assert found.p == pytest.approx(_signed_rank_p(list(gain)))
    t = stats.ttest_rel(np.abs(second), first).confidence_interval(0.95)
    assert (found.n, found.margin_g, found.low, found.high) == pytest.approx((9, gain.mean(), t.low, t.high))
    swapped = compare(second, first, truth)
    assert (swapped.margin_g, swapped.p) == pytest.approx((-gain.mean(), found.p))


def test_it_holds_its_size_and_sees_a_difference() -> None:
    rng = np.random.default_rng(2)
    p = [compare(a, b, np.zeros(60)).p for a, b in rng.normal(0, 13, (800, 2, 60))]
    assert 0.03 <= np.mean([q is not None and q < 0.05 for q in p]) <= 0.07
    better = compare(rng.normal(0, 8, 300), rng.normal(0, 13, 300), np.zeros(300))
    assert better.p is not None
    assert better.p < 0.001
    assert (better.low or 0) > 0


def test_methods_that_never_differ_have_no_p() -> None:
    truth = np.linspace(60, 120, 9)
    same = compare(truth + 2, truth - 2, truth)
    assert (same.margin_g, same.p) == (0.0, None)
    assert compare([], [], []).p is None
