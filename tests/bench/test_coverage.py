from __future__ import annotations

import numpy as np
import pytest

from lvray.evidence.agreement import agreement
from lvray.evidence.hypertrophy import hypertrophy
from scripts.bench import coverage


def test_the_truths_are_what_a_large_cohort_shows() -> None:
    true = coverage.truths()
    cohort = coverage.drawn(np.random.default_rng(1), 20000)
    a = agreement(cohort.estimate_g, cohort.manual_g)
    lvh = hypertrophy([bool(g > 115) for g in cohort.estimate_g], [bool(g > 115) for g in cohort.manual_g])
    for name, found, tolerance in (
        ("r", a.r, 0.005), ("MAE, t", a.mae_g, 0.25), ("bias", a.bias_g, 0.4), ("concordance", a.ccc, 0.006),
        ("lower limit of agreement", a.loa_low, 0.6), ("upper limit of agreement", a.loa_high, 0.6),
        ("calibration slope", a.slope, 0.012), ("calibration intercept", a.intercept_g, 1.1),
        ("LVH sensitivity", lvh.sensitivity, 0.03), ("LVH specificity", lvh.specificity, 0.01),
        ("LVH kappa", lvh.kappa, 0.03),
    ):
        assert found == pytest.approx(true[name], abs=tolerance), name


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    found = coverage.simulated(60, 300)
    assert len(found.tallies) == 14
    for name, tally in found.tallies.items():
        low, high = (88, 92) if name == coverage.CONFORMAL else (90, 99)  # 3 SE of 300 cohorts are 3.8 %
        assert tally.percent is not None
        assert low <= tally.percent <= high, (name, tally.percent)
    assert len(coverage.table([found]).splitlines()) == 15
