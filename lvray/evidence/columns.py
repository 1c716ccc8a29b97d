"""Columns of figures, one value a participant in one order, and the mean of one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Z95 = 1.959963984540054
MIN_N = 4
"""The fewest people of whom an interval or an SD is given."""

Interval = tuple[float, float] | tuple[None, None]
"""A 95 % interval (low, high); (None, None) where it cannot be estimated."""


def grams(*columns: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """The columns as float64 [n]; ValueError unless finite, one-dimensional and of one length."""
    arrays = tuple(np.asarray(column, dtype=np.float64) for column in columns)
    if any(a.ndim != 1 or len(a) != len(arrays[0]) for a in arrays):
        raise ValueError(f"columns of one length wanted, not shapes {[a.shape for a in arrays]}")
    if not all(np.isfinite(a).all() for a in arrays):
        raise ValueError("masses must be finite")
    return arrays


def constant(values: NDArray[np.float64]) -> bool:
    """Whether values [n], n > 0, are all the same but for rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def mean_interval(values: NDArray[np.float64]) -> Interval:
    """Student's t interval of the mean of values [n]; (None, None) for n < 4."""
    n = len(values)
    if n < MIN_N:
        return None, None
    half = float(stats.t.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    centre = float(values.mean())
    return centre - half, centre + half
