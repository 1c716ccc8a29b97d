"""How well estimates agree with manual labels: correlation, error, bias, and how sure each figure is.

Every function takes finite float arrays [n] of grams, one value a participant, in the same order.
A figure that cannot be estimated is None, never NaN: intervals and SD need n >= 4, r needs 3 and spread.
All intervals are 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lvray.evidence.bootstrap import mean_absolute_error_interval
from lvray.evidence.calibration import calibration
from lvray.evidence.columns import grams, mean_interval
from lvray.evidence.correlation import concordance, fisher_interval, pearson
from lvray.evidence.limits import limits


@dataclass(frozen=True)
class Agreement:
    """Agreement of n estimates with n manual masses. Differences are estimate - manual, in grams.

    r: Pearson's, with Fisher's z interval. mae_g: mean |difference|, with Student's t interval and, from 20 people on,
    the BCa bootstrap's. bias_g and sd_g: mean and SD of the differences. loa_low, loa_high: Bland and Altman's limits
    of agreement, bias -+ 1.96 SD, each with its exact interval. ccc: Lin's concordance. slope, intercept_g: manual
    mass by least squares on the estimate; 1 and 0 is calibrated.
    """

    n: int
    r: float | None
    r_low: float | None
    r_high: float | None
    mae_g: float | None
    mae_low: float | None
    mae_high: float | None
    bias_g: float | None
    sd_g: float | None
    loa_low: float | None
    loa_high: float | None
    mae_bca_low: float | None
    mae_bca_high: float | None
    bias_low: float | None
    bias_high: float | None
    loa_low_low: float | None
    loa_low_high: float | None
    loa_high_low: float | None
    loa_high_high: float | None
    ccc: float | None
    ccc_low: float | None
    ccc_high: float | None
    slope: float | None
    slope_low: float | None
    slope_high: float | None
    intercept_g: float | None
    intercept_low: float | None
    intercept_high: float | None


@dataclass(frozen=True)
class Margin:
    """How many grams closer an estimate is than a baseline, averaged over the same n people; negative is worse."""

    n: int
    margin_g: float | None
    low: float | None
    high: float | None


def agreement(estimate: ArrayLike, truth: ArrayLike) -> Agreement:
    """Agreement of estimate [n] with truth [n], both in grams; ValueError unless finite and of one length.

    Student's t at n = 891 is the normal interval of Khurshid 2021 to the second decimal place, and stays honest at
    small n. Sources of the rest: correlation.py, limits.py, bootstrap.py, calibration.py.
    """
    e, t = grams(estimate, truth)
    n = len(e)
    difference = e - t
    error = np.abs(difference)
    r = pearson(e, t)
    r_low, r_high = fisher_interval(r, n)
    mae_low, mae_high = mean_interval(error)
    mae_bca_low, mae_bca_high = mean_absolute_error_interval(e, t)
    bias_low, bias_high = mean_interval(difference)
    loa = limits(difference)
    ccc, ccc_low, ccc_high = concordance(e, t)
    line = calibration(e, t)
    return Agreement(
        n=n,
        r=r,
        r_low=r_low,
        r_high=r_high,
        mae_g=float(error.mean()) if n else None,
        mae_low=None if mae_low is None else max(mae_low, 0.0),
        mae_high=mae_high,
        bias_g=float(difference.mean()) if n else None,
        sd_g=loa.sd,
        loa_low=loa.low,
        loa_high=loa.high,
        mae_bca_low=mae_bca_low,
        mae_bca_high=mae_bca_high,
        bias_low=bias_low,
        bias_high=bias_high,
        loa_low_low=loa.low_low,
        loa_low_high=loa.low_high,
        loa_high_low=loa.high_low,
        loa_high_high=loa.high_high,
        ccc=ccc,
        ccc_low=ccc_low,
        ccc_high=ccc_high,
        slope=line.slope,
        slope_low=line.slope_95[0],
        slope_high=line.slope_95[1],
        intercept_g=line.intercept_g,
        intercept_low=line.intercept_95[0],
        intercept_high=line.intercept_95[1],
    )


def predict_the_mean(train_truth: ArrayLike, truth: ArrayLike) -> Agreement:
    """The baseline: everybody gets the training people's mean. ValueError when there is no training label."""
    train, t = grams(train_truth), grams(truth)
    if not len(train[0]):
        raise ValueError("no training label to take the mean of")
    return agreement(np.full(len(t[0]), train[0].mean()), t[0])


def margin(estimate: ArrayLike, baseline: ArrayLike, truth: ArrayLike) -> Margin:
    """Mean of |baseline error| - |estimate error| over people, with the paired Student's t interval.

    A bootstrap of fewer than about 20 people is too narrow, so none is used.
    """
    e, b, t = grams(estimate, baseline, truth)
    gain = np.abs(b - t) - np.abs(e - t)
    low, high = mean_interval(gain)
    return Margin(n=len(gain), margin_g=float(gain.mean()) if len(gain) else None, low=low, high=high)
