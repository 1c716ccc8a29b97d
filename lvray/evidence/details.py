"""Behind the table's figures: who is estimated well and who is not, what tells so, and what follows for LVH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from lvray.evidence.columns import Interval, mean_interval
from lvray.evidence.conformal import Coverage, Intervals, coverage
from lvray.evidence.hypertrophy import Hypertrophy, hypertrophy
from lvray.evidence.outcomes import Odds, odds
from lvray.evidence.overlap import STRUCTURES
from lvray.evidence.people import Labelled
from lvray.evidence.subgroups import FlagEffect, Subgroup, flag_effects, ordered, subgroups, thirds

WORST = 10
SEX, MASS, PIXEL, FLAGS = "sex", "manual mass", "pixel size", "quality flags"
Grams = Mapping[str, float]
"""An estimate's, by participant."""


@dataclass(frozen=True)
class Outcome:
    """A disease, and the age in years, by participant."""

    has: Mapping[str, bool | None]
    age: Mapping[str, float | None]


@dataclass(frozen=True)
class Covered:
    """How often a method's interval for one person held the manual mass. expected_*: None where none is promised."""

    method: str
    grouping: str
    level: str
    coverage: Coverage


@dataclass(frozen=True)
class Overlapped:
    """How a method's masks overlap with the outlines of n people. Dice: the mean with its interval; distances: the
    median over people, in mm, of the surfaces' mean distance and of its 95th percentile."""

    method: str
    structure: str
    n: int
    dice: float | None
    dice_low: float | None
    dice_high: float | None
    mean_mm: float | None
    hd95_mm: float | None


@dataclass(frozen=True)
class Case:
    """One of the largest errors. An individual's values: for the pictures and their captions only."""

    participant: str
    study: str
    manual_g: float
    estimate_g: float
    flags: tuple[str, ...]


def by_subgroup(people: Sequence[Labelled], grams: Grams) -> tuple[Subgroup, ...]:
    """Agreement by sex, third of manual mass, third of pixel size, and with and without flags that not all have."""
    estimate, manual = [grams[p.participant] for p in people], [p.manual_g for p in people]
    known = iter(thirds([p.pixel_mm for p in people if p.pixel_mm is not None]))
    pixels = [None if p.pixel_mm is None else next(known) for p in people]
    everybody = frozenset.intersection(*(p.flags for p in people)) if people else frozenset()
    return tuple(subgroups(estimate, manual, {
        SEX: [p.sex for p in people],
        MASS: thirds(manual),
        PIXEL: pixels,
        FLAGS: ["some" if p.flags - everybody else "none" for p in people]}))


def by_flag(people: Sequence[Labelled], grams: Grams, method: str) -> tuple[FlagEffect, ...]:
    """Which flags, of the images and of the method's own estimate, tell of large errors."""
    return tuple(flag_effects([grams[p.participant] for p in people], [p.manual_g for p in people],
                              [p.flags | p.estimate_flags.get(method, frozenset()) for p in people]))


def of_lvh(people: Sequence[Labelled], grams: Grams) -> Hypertrophy:
    return hypertrophy([p.lvh(grams[p.participant]) for p in people], [p.lvh(p.manual_g) for p in people])


def of_outcomes(people: Sequence[Labelled], grams: Grams, outcomes: Mapping[str, Outcome]) -> dict[str, Odds]:
    """Odds ratio of each outcome for LVH by the estimate."""
    return {name: odds([p.lvh(grams[p.participant]) for p in people], [known.has.get(p.participant) for p in people],
                       [known.age.get(p.participant) for p in people], [p.sex for p in people])
            for name, known in outcomes.items()}


def worst(people: Sequence[Labelled], grams: Grams, method: str) -> tuple[Case, ...]:
    """The ten largest errors, the largest first."""
    ordered = sorted(people, key=lambda p: (-abs(grams[p.participant] - p.manual_g), p.participant))
    return tuple(Case(p.participant, p.study, p.manual_g, grams[p.participant],
                      tuple(sorted(p.flags | p.estimate_flags.get(method, frozenset())))) for p in ordered[:WORST])


def overlapped(people: Sequence[Labelled], method: str) -> tuple[Overlapped, ...]:
    """By structure; none where the method makes no masks, or nobody has outlines."""
    theirs = [p.overlaps[method] for p in people if method in p.overlaps]
    found = []
    for structure in STRUCTURES if theirs else ():
        dice = _numbers(o[structure].dice for o in theirs)
        near, far = (_numbers(getattr(o[structure], name) for o in theirs) for name in ("mean_mm", "hd95_mm"))
        low, high = _within_1(mean_interval(np.array(dice)))
        found.append(Overlapped(method, structure, len(dice), float(np.mean(dice)) if dice else None, low, high,
                                median(near) if near else None, median(far) if far else None))
    return tuple(found)


def covered(people: Sequence[Labelled], intervals: Intervals) -> tuple[Covered, ...]:
    """Of those who have one, how many have their manual mass in it: all, by sex, by third of manual mass.

    Only for all together, and for a sex with its own half-width, does the method promise anything.
    """
    method = intervals.method
    known = [p for p in people if method in p.intervals_g]
    inside = {p.participant: p.intervals_g[method][0] <= p.manual_g <= p.intervals_g[method][1] for p in known}

    def of(grouping: str, level: str, group: Sequence[Labelled], n_calibration: int | None) -> Covered:
        found = coverage(sum(inside[p.participant] for p in group), len(group), n_calibration or intervals.n,
                         intervals.level)
        return Covered(method, grouping, level, found if n_calibration else _unpromised(found))

    by_sex = intervals.half_g_by_sex
    found = [of("", "everybody", known, None if by_sex else intervals.n)] if known else []
    for grouping, levels in ((SEX, [p.sex for p in known]), (MASS, thirds([p.manual_g for p in known]))):
        for level in ordered(levels):
            group = [p for p, of_level in zip(known, levels, strict=True) if of_level == level]
            found.append(of(grouping, level, group, intervals.n_by_sex[level] if level in by_sex else None))
    return tuple(found)


def _unpromised(found: Coverage) -> Coverage:
    return Coverage(**{**vars(found), "expected_low": None, "expected_high": None})


def _numbers(values: Any) -> list[float]:
    return [value for value in values if value is not None]


def _within_1(interval: Interval) -> Interval:
    low, high = interval
    return (None, None) if low is None or high is None else (max(0.0, low), min(1.0, high))
