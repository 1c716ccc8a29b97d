"""Calibration: the line that turns estimates into manual masses. Slope 1 and intercept 0 is calibrated."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy import stats

from lvray.evidence.columns import MIN_N, Interval, constant, grams


@dataclass(frozen=True)
class Line:
    """manual = intercept + slope x estimate, each with Student's t interval. None: not estimable."""

    slope: float | None = None
    slope_95: Interval = (None, None)
    intercept_g: float | None = None
    intercept_95: Interval = (None, None)


def calibration(estimate: ArrayLike, truth: ArrayLike) -> Line:
    """Least squares of truth [n] on estimate [n], grams; nothing for n < 3 or where one of them does not vary, no
    intervals for n < 4.

    A slope below 1: large estimates are too large and small ones too small (over-confident); above 1: shrunk
    towards the mean. Source: Cox, Biometrika 1958;45:562-565.
    """
    e, t = grams(estimate, truth)
    n = len(e)
    if n < 3 or constant(e) or constant(t):
        return Line()
    fit = stats.linregress(e, t)
    slope, intercept = float(fit.slope), float(fit.intercept)
    if n < MIN_N:
        return Line(slope=slope, intercept_g=intercept)
    quantile = float(stats.t.ppf(0.975, n - 2))
    half, half_g = quantile * float(fit.stderr), quantile * float(fit.intercept_stderr)
    return Line(slope, (slope - half, slope + half), intercept, (intercept - half_g, intercept + half_g))
