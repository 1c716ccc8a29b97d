"""Whom an estimate serves well: agreement by sex, mass, pixel size and quality flag, and which flags tell of errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lvray.evidence.agreement import Agreement, agreement
from lvray.evidence.columns import MIN_N, constant, grams

THIRDS = ("lowest third", "middle third", "highest third")


@dataclass(frozen=True)
class Subgroup:
    """People of one level of one grouping, as ("sex", "female")."""

    grouping: str
    level: str
    agreement: Agreement


@dataclass(frozen=True)
class FlagEffect:
    """Mean |error| in grams of people with and without a quality flag, and the difference with Welch's t interval."""

    flag: str
    n_with: int
    n_without: int
    mae_with_g: float
    mae_without_g: float | None = None
    difference_g: float | None = None
    low: float | None = None
    high: float | None = None


def subgroups(estimate: ArrayLike, manual: ArrayLike, groupings: Mapping[str, Sequence[str | None]]) -> list[Subgroup]:
    """Agreement of estimate [n] with manual [n], grams, in each level of each grouping [n], in the groupings' order.

    A person whose level is None is in no subgroup of that grouping. ValueError unless of one length.
    """
    e, m = grams(estimate, manual)
    found = []
    for name, levels in groupings.items():
        if len(levels) != len(e):
            raise ValueError(f"columns of one length wanted: {len(e)}, {len(levels)}")
        for level in ordered(levels):
            of_level = np.array([value == level for value in levels])
            found.append(Subgroup(name, level, agreement(e[of_level], m[of_level])))
    return found


def thirds(values: ArrayLike) -> list[str | None]:
    """The third of the people that each of values [n] is in; equal values are in one third. All None for no spread."""
    (v,) = grams(values)
    if not len(v) or constant(v):
        return [None] * len(v)
    return [THIRDS[i] for i in np.searchsorted(np.quantile(v, [1 / 3, 2 / 3]), v)]


def flag_effects(estimate: ArrayLike, manual: ArrayLike, flags: Sequence[AbstractSet[str]]) -> list[FlagEffect]:
    """Effect of each flag on |estimate - manual| [n], grams; flags [n] holds each person's.

    The flag with the largest difference first; flags that everybody has, which have none, last. No interval with fewer
    than 4 people on either side, or no spread.
    """
    e, m = grams(estimate, manual)
    if len(flags) != len(e):
        raise ValueError(f"columns of one length wanted: {len(e)}, {len(flags)}")
    error = np.abs(e - m)
    found = [_effect(flag, error, np.array([flag in of for of in flags])) for flag in sorted(set().union(*flags))]
    return sorted(found, key=lambda effect: -np.inf if effect.difference_g is None else effect.difference_g,
                  reverse=True)


def _effect(flag: str, error: NDArray[np.float64], flagged: NDArray[np.bool_]) -> FlagEffect:
    a, b = error[flagged], error[~flagged]
    found = FlagEffect(flag=flag, n_with=len(a), n_without=len(b), mae_with_g=float(a.mean()))
    if not len(b):
        return found
    found = replace(found, mae_without_g=float(b.mean()), difference_g=float(a.mean() - b.mean()))
    if min(len(a), len(b)) < MIN_N or (constant(a) and constant(b)):
        return found
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return replace(found, low=float(interval.low), high=float(interval.high))


def ordered(levels: Sequence[str | None]) -> list[str]:
    """Each level once: thirds from the lowest on, others by name."""
    known = {level for level in levels if level is not None}
    return [t for t in THIRDS if t in known] + sorted(known - set(THIRDS))
