"""The people of an evaluation, and the count of those who are left out of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lvray.errors import UseError
from lvray.evidence import indices
from lvray.evidence.overlap import Overlap

MANUAL_G = (0.0, 500.0)
"""The open interval that a manual mass must lie in (method.md)."""


@dataclass(frozen=True)
class Person:
    """One study of one participant, as the evaluation needs it. Masses in grams; None is unknown."""

    participant: str
    """The keyed hash."""
    manual_g: float | None
    estimates_g: Mapping[str, float | None]
    """Raw estimates by the method's name; a name left out is an estimate that does not exist."""
    sex: str | None = None
    """"male" or "female"."""
    height_cm: float | None = None
    weight_kg: float | None = None
    pixel_mm: float | None = None
    """In the plane."""
    flags: frozenset[str] = frozenset()
    """Of the study's images and outlines."""
    estimate_flags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Those that a method's estimate has raised, by its name."""
    overlaps: Mapping[str, Mapping[str, Overlap]] = field(default_factory=dict)
    """Of a method's mask with the study's outlines, by its name and by structure."""
    intervals_g: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Of a method that was calibrated: where the manual mass should be."""
    study: str = ""
    """The study's keyed hash."""

    def lvh(self, mass_g: float | None) -> bool | None:
        """LV hypertrophy at that mass; None where mass, size or sex is unknown."""
        if mass_g is None:
            return None
        return indices.lvh(indices.lvmi(mass_g, self.height_cm, self.weight_kg), self.sex)


@dataclass(frozen=True)
class Labelled(Person):
    """A person whose manual mass is known and in range."""

    manual_g: float


@dataclass(frozen=True)
class Counts:
    """Where the rows of one side went: rows = repeats + unlabelled + out_of_range + labelled."""

    rows: int
    repeats: int
    """Further studies of a participant already counted: the first one with a manual mass in range is used."""
    unlabelled: int
    out_of_range: int
    """A manual mass that is not between 0 and 500 g."""
    labelled: int
    estimated: Mapping[str, int]
    """Labelled people that each method has an estimate of."""


def labelled(people: Sequence[Person], methods: Sequence[str]) -> tuple[list[Labelled], Counts]:
    """One study of each participant with a manual mass in range, and where the others went.

    UseError where an estimate is not a finite number.
    """
    studies: dict[str, list[Person]] = {}
    for person in people:
        studies.setdefault(person.participant, []).append(person)
    known = [theirs for theirs in studies.values() if any(p.manual_g is not None for p in theirs)]
    kept = [found for theirs in known if (found := _first(theirs)) is not None]
    estimated = {name: sum(estimate(p, name) is not None for p in kept) for name in methods}
    return kept, Counts(
        rows=len(people),
        repeats=len(people) - len(studies),
        unlabelled=len(studies) - len(known),
        out_of_range=len(known) - len(kept),
        labelled=len(kept),
        estimated=estimated,
    )


def _first(studies: Sequence[Person]) -> Labelled | None:
    """The first study with a manual mass in range."""
    for p in studies:
        if p.manual_g is not None and MANUAL_G[0] < p.manual_g < MANUAL_G[1]:
            return Labelled(**vars(p))
    return None


def estimate(person: Person, method: str) -> float | None:
    """Raw grams by a method. UseError where they are not a finite number."""
    grams = person.estimates_g.get(method)
    if grams is not None and not math.isfinite(grams):
        raise UseError(f"evaluate: the {method} estimate of participant {person.participant} is {grams};"
                       " leave it out where there is none")
    return grams
