"""Bland and Altman's limits of agreement, and how sure each of them is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lvray.evidence.columns import MIN_N, Z95


@dataclass(frozen=True)
class Limits:
    """Mean and SD of n differences, the limits mean -+ 1.96 SD, and each limit's own 95 % interval."""

    sd: float | None = None
    low: float | None = None
    high: float | None = None
    low_low: float | None = None
    low_high: float | None = None
    high_low: float | None = None
    high_high: float | None = None


def limits(differences: NDArray[np.float64]) -> Limits:
    """Limits of agreement of differences [n], taken as normal; all None for n < 4.

    Each limit's interval is exact: sqrt(n) (limit - mean) / SD is noncentral t. Sources: Bland and Altman, Lancet
    1986; Carkeet, Optometry and Vision Science 2015;92:e71-e80 (each limit alone, not the pair).
    """
    n = len(differences)
    if n < MIN_N:
        return Limits()
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    near, far = (float(sd * stats.nct.ppf(p, n - 1, Z95 * math.sqrt(n)) / math.sqrt(n)) for p in (0.025, 0.975))
    return Limits(
        sd=sd,
        low=mean - Z95 * sd,
        high=mean + Z95 * sd,
        low_low=mean - far,
        low_high=mean - near,
        high_low=mean + near,
        high_high=mean + far,
    )
