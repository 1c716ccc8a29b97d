"""How well estimates agree with manual labels: correlation, error, bias, and how sure each figure is.

Every function takes finite float arrays [n] of grams, one value a participant, in the same order.
A figure that cannot be estimated is None, never NaN: intervals and SD need n >= 4, r needs 3 and spread.
All intervals are 95 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Z95 = 1.959963984540054
MIN_N = 4


@dataclass(frozen=True)
class Agreement:
    """Agreement of n estimates with n manual masses. Differences are estimate - manual, in grams.

    r: Pearson's, with Fisher's z interval. mae_g: mean |difference|, with Student's t interval. bias_g and sd_g:
    mean and SD of the differences. loa_low, loa_high: Bland and Altman's limits of agreement, bias +- 1.96 SD.
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


@dataclass(frozen=True)
class Margin:
    """How many grams closer an estimate is than a baseline, averaged over the same n people; negative is worse."""

    n: int
    margin_g: float | None
    low: float | None
    high: float | None


def agreement(estimate: ArrayLike, truth: ArrayLike) -> Agreement:
    """Agreement of estimate [n] with truth [n], both in grams; ValueError unless finite and of one length.

    Sources: Fisher 1921 (r); Bland and Altman, Lancet 1986 (limits). Student's t at n = 891 is the normal interval
    of Khurshid 2021 to the second decimal place, and stays honest at small n.
    """
    e, t = _grams(estimate, truth)
    n = len(e)
    difference = e - t
    error = np.abs(difference)
    r = pearson(e, t)
    r_low, r_high = fisher_interval(r, n)
    mae_low, mae_high = _mean_interval(error)
    bias = float(difference.mean()) if n else None
    sd = float(difference.std(ddof=1)) if n >= MIN_N else None
    return Agreement(
        n=n,
        r=r,
        r_low=r_low,
        r_high=r_high,
        mae_g=float(error.mean()) if n else None,
        mae_low=None if mae_low is None else max(mae_low, 0.0),
        mae_high=mae_high,
        bias_g=bias,
        sd_g=sd,
        loa_low=None if bias is None or sd is None else bias - Z95 * sd,
        loa_high=None if bias is None or sd is None else bias + Z95 * sd,
    )


def predict_the_mean(train_truth: ArrayLike, truth: ArrayLike) -> Agreement:
    """The baseline: everybody gets the training people's mean. ValueError when there is no training label."""
    train, t = _grams(train_truth), _grams(truth)
    if not len(train[0]):
        raise ValueError("no training label to take the mean of")
    return agreement(np.full(len(t[0]), train[0].mean()), t[0])


def margin(estimate: ArrayLike, baseline: ArrayLike, truth: ArrayLike) -> Margin:
    """Mean of |baseline error| - |estimate error| over people, with the paired Student's t interval.

    A bootstrap of fewer than about 20 people is too narrow, so none is used.
    """
    e, b, t = _grams(estimate, baseline, truth)
    gain = np.abs(b - t) - np.abs(e - t)
    low, high = _mean_interval(gain)
    return Margin(n=len(gain), margin_g=float(gain.mean()) if len(gain) else None, low=low, high=high)


def pearson(a: ArrayLike, b: ArrayLike) -> float | None:
    """Pearson's r of a [n] and b [n]; None for n < 3 or where one of them does not vary."""
    x, y = _grams(a, b)
    if len(x) < 3 or _constant(x) or _constant(y):
        return None
    x, y = x - x.mean(), y - y.mean()
    r = float(x @ y) / (float(np.linalg.norm(x)) * float(np.linalg.norm(y)))
    return min(1.0, max(-1.0, r))


def fisher_interval(r: float | None, n: int) -> tuple[float | None, float | None]:
    """The interval of r by Fisher's z, SE 1 / sqrt(n - 3); (None, None) for n < 4."""
    if r is None or n < MIN_N:
        return None, None
    if abs(r) == 1:
        return r, r
    half = Z95 / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def compare_correlations(a: ArrayLike, b: ArrayLike, truth: ArrayLike) -> float | None:
    """Two-sided P that a [n] and b [n] correlate equally with truth [n], all of the same people (Williams' test)."""
    x, y, t = _grams(a, b, truth)
    r_at, r_bt, r_ab = pearson(x, t), pearson(y, t), pearson(x, y)
    if r_at is None or r_bt is None or r_ab is None:
        return None
    tested = williams(r_at, r_bt, r_ab, len(t))
    return None if tested is None else tested[1]


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


def _mean_interval(values: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    n = len(values)
    if n < MIN_N:
        return None, None
    half = float(stats.t.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    centre = float(values.mean())
    return centre - half, centre + half


def _constant(values: NDArray[np.float64]) -> bool:
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def _grams(*columns: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """The columns as float64 [n]; ValueError unless finite, one-dimensional and of one length."""
    arrays = tuple(np.asarray(column, dtype=np.float64) for column in columns)
    if any(a.ndim != 1 or len(a) != len(arrays[0]) for a in arrays):
        raise ValueError(f"columns of one length wanted, not shapes {[a.shape for a in arrays]}")
    if not all(np.isfinite(a).all() for a in arrays):
        raise ValueError("masses must be finite")
    return arrays
