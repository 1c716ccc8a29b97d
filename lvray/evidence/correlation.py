"""How closely two columns go together: Pearson's r, Lin's concordance, and whether two estimates differ in it.

Columns are finite float arrays [n], one value a participant, in one order. What cannot be estimated is None.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lvray.evidence.columns import MIN_N, Z95, Interval, constant, grams


def pearson(a: ArrayLike, b: ArrayLike) -> float | None:
    """Pearson's r of a [n] and b [n]; None for n < 3 or where one of them does not vary."""
    x, y = grams(a, b)
    if len(x) < 3 or constant(x) or constant(y):
        return None
    x, y = x - x.mean(), y - y.mean()
    r = float(x @ y) / (float(np.linalg.norm(x)) * float(np.linalg.norm(y)))
    return min(1.0, max(-1.0, r))


def fisher_interval(r: float | None, n: int) -> Interval:
    """The interval of r by Fisher's z (1921), SE 1 / sqrt(n - 3); (None, None) for n < 4."""
    return (None, None) if r is None or n < MIN_N else _by_z(r, 1 / math.sqrt(n - 3))


def concordance(a: ArrayLike, b: ArrayLike) -> tuple[float | None, float | None, float | None]:
    """Lin's concordance correlation coefficient of a [n] and b [n], and its interval (low, high) by Fisher's z.

    None where Pearson's r is; no interval for n < 4. Sources: Lin, Biometrics 1989;45:255-268, for the coefficient;
    for the standard error, which was misprinted there, his correction, Biometrics 2000;56:324-325.
    """
    r = pearson(a, b)
    if r is None:
        return None, None, None
    x, y = grams(a, b)
    sd = float(x.std()), float(y.std())
    shift_squared = float(x.mean() - y.mean()) ** 2 / (sd[0] * sd[1])
    accuracy = 2 / (sd[0] / sd[1] + sd[1] / sd[0] + shift_squared)
    ccc = r * accuracy
    n = len(x)
    if n < MIN_N:
        return ccc, None, None
    variance = ((1 - r**2) * accuracy**2 * (1 - ccc**2) + 2 * ccc**2 * (1 - ccc) * accuracy * shift_squared
                - ccc**2 * accuracy**2 * shift_squared**2 / 2) / (n - 2)
    if 1 - ccc**2 < 1e-12:
        return ccc, ccc, ccc
    return ccc, *_by_z(ccc, math.sqrt(max(0.0, variance)) / (1 - ccc**2))


def compare_correlations(a: ArrayLike, b: ArrayLike, truth: ArrayLike) -> tuple[float | None, float | None]:
    """Two-sided P that a [n] and b [n] correlate equally with truth [n], the same people's: Williams', Steiger's."""
    x, y, t = grams(a, b, truth)
    r_at, r_bt, r_ab = pearson(x, t), pearson(y, t), pearson(x, y)
    if r_at is None or r_bt is None or r_ab is None:
        return None, None
    tested = (test(r_at, r_bt, r_ab, len(t)) for test in (williams, steiger))
    p_williams, p_steiger = (None if found is None else found[1] for found in tested)
    return p_williams, p_steiger


def williams(r_at: float, r_bt: float, r_ab: float, n: int) -> tuple[float, float] | None:
    """Williams' t (n - 3 degrees of freedom) and two-sided P of r_at = r_bt, where a and b correlate by r_ab.

    Source: Williams 1959, the T2 of Steiger, Psychological Bulletin 1980;87:245-251.
    None for n < 4, and where a and b are the same but for scale.
    """
    if n < MIN_N or 1 - r_ab < 1e-12:
        return None
    determinant = max(0.0, 1 - r_at**2 - r_bt**2 - r_ab**2 + 2 * r_at * r_bt * r_ab)
    mean = (r_at + r_bt) / 2
    variance = 2 * determinant * (n - 1) / (n - 3) + mean**2 * (1 - r_ab) ** 3
    if variance < 1e-15:
        return None
    t = (r_at - r_bt) * math.sqrt((n - 1) * (1 + r_ab) / variance)
    return t, float(2 * stats.t.sf(abs(t), n - 3))


def steiger(r_at: float, r_bt: float, r_ab: float, n: int) -> tuple[float, float] | None:
    """Steiger's z (Z-bar 2*) and two-sided P of r_at = r_bt, where a and b correlate by r_ab.

    Fisher's z of both, with their covariance at the mean of the two r. Source: Steiger, Psychological Bulletin
    1980;87:245-251. None for n < 4, for an r of 1, and where a and b are the same but for scale.
    """
    mean = (r_at + r_bt) / 2
    if n < MIN_N or 1 - r_ab < 1e-12 or max(abs(r_at), abs(r_bt)) == 1:
        return None
    covariance = (r_ab * (1 - 2 * mean**2) - mean**2 * (1 - 2 * mean**2 - r_ab**2) / 2) / (1 - mean**2) ** 2
    if 1 - covariance < 1e-12:
        return None
    z = (math.atanh(r_at) - math.atanh(r_bt)) * math.sqrt((n - 3) / (2 - 2 * covariance))
    return z, float(2 * stats.norm.sf(abs(z)))


def _by_z(r: float, se: float) -> tuple[float, float]:
    if abs(r) == 1:
        return r, r
    return math.tanh(math.atanh(r) - Z95 * se), math.tanh(math.atanh(r) + Z95 * se)
