"""An interval for one person's mass: split-conformal, by the errors of calibration people whom no network trained on.

It holds whatever the errors' distribution, so long as the new person is like the calibration people: of people given
an interval of level 0.90, 90 % or more have their manual mass in it. Source: Vovk, Gammerman and Shafer, Algorithmic
Learning in a Random World, 2005; by group (sex), their Mondrian form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lvray.errors import UseError
from lvray.evidence.centering import Centering
from lvray.evidence.columns import grams

LEVEL = 0.90
MIN_GROUP = 40
"""The fewest people of a sex for its own interval. 9 make one at level 0.90, but its true coverage then varies by 9 %
(SD, between calibration sets); of 40 by 4 %."""


@dataclass(frozen=True)
class Intervals:
    """Half-widths in grams of the interval around a centred estimate, and what they were fitted on."""

    method: str
    """As "ML4Hseg"."""
    kind: str
    """"phantom" or "real": the calibration people."""
    weights_sha256: str
    level: float
    n: int
    half_g: float
    n_by_sex: Mapping[str, int]
    half_g_by_sex: Mapping[str, float]
    """Of each sex with 40 calibration people or more."""
    centering: Centering | None
    """What the estimate is centred by first, fitted on training people; None: it is not."""
    data: str
    """Of the data set that the people are from: its manifest's sha256."""

    def centred(self, mass_g: float, sex: str | None) -> float:
        """A raw estimate, centred: the middle of its interval."""
        return _centred(mass_g, sex, self.centering)

    def of(self, mass_g: float, sex: str | None) -> tuple[float, float]:
        """(low, high) in grams of the manual mass, given a raw estimate; by that sex where it has its own half-width.
        low is 0 at least."""
        half = self.half_g if sex is None else self.half_g_by_sex.get(sex, self.half_g)
        centre = self.centred(mass_g, sex)
        return max(0.0, centre - half), max(0.0, centre + half)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Intervals:
        """What to_dict gave. UseError where it is something else."""
        try:
            centring = plain["centering"]
            found = cls(**{**plain, "centering": None if centring is None else Centering(**centring)})
            sound = (found.kind in ("phantom", "real") and 0 < found.level < 1
                     and found.n >= sum(found.n_by_sex.values()) and found.half_g_by_sex.keys() <= found.n_by_sex.keys()
                     and all(math.isfinite(g) and g >= 0 for g in (found.half_g, *found.half_g_by_sex.values())))
        except (TypeError, AttributeError, KeyError) as error:
            raise UseError("intervals: not what lvray wrote; fit them again with the calibration people") from error
        if not sound:
            raise UseError("intervals: a value is out of range; fit them again with the calibration people")
        return found


@dataclass(frozen=True)
class Coverage:
    """How many of n new people had their manual mass in their interval, and what was to be expected."""

    covered: int
    n: int
    level: float
    share: float | None
    low: float | None
    high: float | None
    """Clopper and Pearson's 95 % interval of the share."""
    expected_low: float | None
    expected_high: float | None
    """Where the share lies in 95 % of such trials, if the new people are like the calibration people."""


def fit(estimate_g: Sequence[float], manual_g: Sequence[float], sexes: Sequence[str | None], *, method: str, kind: str,
        weights_sha256: str, data: str, centering: Centering | None = None, level: float = LEVEL) -> Intervals:
    """Fit on calibration people: raw estimate, manual mass and sex [n] in one order, grams finite (else ValueError).

    UseError where there are fewer people than the level needs: 9 for 0.90.
    """
    estimate, manual = grams(estimate_g, manual_g)
    if len(sexes) != len(estimate):
        raise ValueError(f"columns of one length wanted: {len(estimate)}, {len(sexes)}")
    if kind not in ("phantom", "real") or not 0 < level < 1:
        raise ValueError(f"kind {kind!r}, level {level}")
    error = np.abs(manual - [_centred(g, s, centering) for g, s in zip(estimate.tolist(), sexes, strict=True)])
    if len(error) < fewest(level):
        raise UseError(f"intervals: {len(error)} calibration people have both an estimate and a manual mass, and"
                       f" {fewest(level)} are needed for level {level:g}; tensorize with a larger calibration split")
    groups = {sex: error[[s == sex for s in sexes]] for sex in sorted({s for s in sexes if s is not None})}
    enough = max(MIN_GROUP, fewest(level))
    return Intervals(
        method=method,
        kind=kind,
        weights_sha256=weights_sha256,
        level=level,
        n=len(error),
        half_g=_half(error, level),
        n_by_sex={sex: len(group) for sex, group in groups.items()},
        half_g_by_sex={sex: _half(group, level) for sex, group in groups.items() if len(group) >= enough},
        centering=centering,
        data=data,
    )


def coverage(covered: int, n: int, n_calibration: int, level: float = LEVEL) -> Coverage:
    """Of n new people, given the half-width of one group of n_calibration people, covered had their mass inside.

    The expected range is exact for errors without ties: beta-binomial (n, k, n_calibration + 1 - k), where the k-th
    smallest calibration error is the half-width. ValueError where n_calibration is too few for the level. All None
    for n = 0.
    """
    if not 0 <= covered <= n or n_calibration < fewest(level):
        raise ValueError(f"{covered} of {n} covered, {n_calibration} calibration people, level {level}")
    if not n:
        return Coverage(covered, n, level, None, None, None, None, None)
    exact = stats.binomtest(covered, n).proportion_ci(0.95, method="exact")
    k = _rank(n_calibration, level)
    expected = [float(stats.betabinom.ppf(p, n, k, n_calibration + 1 - k)) / n for p in (0.025, 0.975)]
    return Coverage(covered, n, level, covered / n, float(exact.low), float(exact.high), *expected)


def fewest(level: float) -> int:
    """The fewest calibration people for whom an interval of that level is finite."""
    n = 1
    while _rank(n, level) > n:
        n += 1
    return n


def _rank(n: int, level: float) -> int:
    return math.ceil(round((n + 1) * level, 9))


def _centred(mass_g: float, sex: str | None, centering: Centering | None) -> float:
    return mass_g if centering is None else centering.apply(mass_g, sex)


def _half(error: NDArray[np.float64], level: float) -> float:
    return float(np.sort(error)[_rank(len(error), level) - 1])
