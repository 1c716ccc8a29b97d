from __future__ import annotations

import math

import numpy as np
import pytest

from lvray.evidence.hypertrophy import hypertrophy


def columns(both: int, manual_only: int, estimate_only: int, neither: int) -> tuple[list[bool], list[bool]]:
    """(estimate, manual)"""
    return ([True] * both + [False] * manual_only + [True] * estimate_only + [False] * neither,
            [True] * (both + manual_only) + [False] * (estimate_only + neither))


def test_by_hand() -> None:
    found = hypertrophy(*columns(45, 15, 25, 15))  # po .60, pe .54
    assert (found.both, found.manual_only, found.estimate_only, found.neither, found.unknown) == (45, 15, 25, 15, 0)
    assert (found.sensitivity, found.specificity) == (0.75, 0.375)
    assert found.kappa == pytest.approx((0.60 - 0.54) / (1 - 0.54))


def test_wilsons_bounds_are_where_the_score_test_is_just_significant() -> None:
    found = hypertrophy(*columns(45, 15, 25, 15))
    for bound in (found.sensitivity_low, found.sensitivity_high):
        assert bound is not None
        assert abs(0.75 - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / 60), abs=1e-6)
    for bound in (found.specificity_low, found.specificity_high):
        assert bound is not None
        assert abs(0.375 - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / 40), abs=1e-6)


def test_kappas_interval_against_the_delta_method() -> None:
    counts = np.array([45.0, 15.0, 25.0, 15.0])
    n = counts.sum()

    def kappa(p: np.ndarray) -> float:
        chance = (p[0] + p[1]) * (p[0] + p[2]) + (p[2] + p[3]) * (p[1] + p[3])
        return float((p[0] + p[3] - chance) / (1 - chance))

    p = counts / n
    gradient = np.array([(kappa(p + s) - kappa(p - s)) / 2e-6 for s in 1e-6 * np.eye(4)])
    half = 1.959964 * math.sqrt(gradient @ (np.diag(p) - np.outer(p, p)) @ gradient / n)
    found = hypertrophy(*columns(45, 15, 25, 15))
    assert (found.kappa_low, found.kappa_high) == pytest.approx((kappa(p) - half, kappa(p) + half), abs=1e-6)


def test_people_with_one_of_the_two_unknown_are_counted_out() -> None:
    found = hypertrophy([True, None, False, None], [True, True, None, None])
    assert (found.both, found.unknown) == (1, 3)
    with pytest.raises(ValueError, match="shorter"):
        hypertrophy([True], [True, False])


def test_what_is_not_estimable() -> None:
    none = hypertrophy([], [])
    assert (none.sensitivity, none.specificity, none.kappa) == (None, None, None)
    all_without = hypertrophy(*columns(0, 0, 0, 9))
    assert (all_without.sensitivity, all_without.specificity, all_without.kappa) == (None, 1.0, None)
    constant = hypertrophy(*columns(0, 4, 0, 5))
    assert (constant.sensitivity, constant.kappa, constant.kappa_low) == (0.0, 0.0, None)
    perfect = hypertrophy(*columns(4, 0, 0, 5))
    assert (perfect.kappa, perfect.kappa_low, perfect.sensitivity_high) == (1.0, None, 1.0)
