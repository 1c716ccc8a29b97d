"""Bootstrap intervals: people drawn again with replacement, each with all of his or her columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lvray.evidence.columns import Interval, constant, grams

Statistic = Callable[..., NDArray[np.float64]]
"""Of columns [..., n] and the keyword axis (-1): one value for each row of people, [...]."""

DRAWS = 5000
SEED = 20210701
MIN_PEOPLE = 20
"""Of fewer people the interval is too narrow (scripts/bench/RESULTS.md)."""
VALUES_AT_ONCE = 1 << 21


def bca(statistic: Statistic, *columns: ArrayLike) -> Interval:
    """The bias-corrected and accelerated interval of a statistic of columns [n] of the same people.

    (None, None) for n < 20, and where drawing people again does not change the statistic. The draws have a fixed seed.
    One row a participant is the caller's to see to. Source: Efron, JASA 1987;82:171-185.
    """
    arrays = grams(*columns)
    n = len(arrays[0])
    if n < MIN_PEOPLE or all(constant(a) for a in arrays):
        return None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a statistic that no draw changes: SciPy warns and gives NaN
        found = stats.bootstrap(arrays, statistic, paired=True, vectorized=True, n_resamples=DRAWS, method="BCa",
                                batch=max(1, VALUES_AT_ONCE // n), rng=np.random.default_rng(SEED))
    low, high = (float(bound) for bound in found.confidence_interval)
    return (low, high) if np.isfinite([low, high]).all() else (None, None)


def mean_absolute_error_interval(estimate: ArrayLike, truth: ArrayLike) -> Interval:
    """BCa interval of the mean |estimate - truth| of n people, grams."""
    e, t = grams(estimate, truth)
    return bca(np.mean, np.abs(e - t))
