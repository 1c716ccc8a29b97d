"""Who lies in the scanner: body size, heart size, and what went wrong in the visit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np

InlineVF = Literal["normal", "absent", "gross"]

ABSENT, GROSS = 0.09, 0.04
"""Shares of studies without InlineVF outlines and with grossly wrong ones."""

_GOLDEN = 0.6180339887498949
_EIDS, _EID_STRIDE = 9_000_000, 2_654_437


@dataclass(frozen=True)
class PhantomOptions:
    """Size of a study. A real one: 50 phases, 8 to 13 slices, about 208 x 168. ValueError for what no heart fits.

    bias: InlineVF errs as it does; else it draws the true outlines, where it draws at all.
    """

    phases: int = 10
    slices: int = 8
    rows: int = 96
    columns: int = 96
    bias: bool = True

    def __post_init__(self) -> None:
        for field, least in (("phases", 2), ("slices", 6), ("rows", 64), ("columns", 64)):
            if getattr(self, field) < least:
                raise ValueError(f"{field} is {getattr(self, field)}; a phantom needs at least {least}")


@dataclass(frozen=True)
class Person:
    """One participant. mass_g is the true LV mass, manual_g what a human reader measured."""

    eid: int
    name: str
    birth: date
    visit: date
    sex: Literal["F", "M"]
    height_cm: float
    weight_kg: float
    heart_rate: int
    mass_g: float
    manual_g: float
    edv_ml: float
    ejection: float
    hypertrophy: float
    inlinevf: InlineVF


def rng(seed: int, number: int, part: str) -> np.random.Generator:
    """The generator of one part of one participant: parts do not disturb each other."""
    return np.random.default_rng([seed, number, *part.encode()])


def inlinevf(seed: int, number: int) -> InlineVF:
    """The state of a participant's InlineVF outlines.

    A golden-ratio sequence, so that any run of consecutive numbers holds the shares as closely as it can.
    """
    u = (np.random.default_rng(seed).random() + number * _GOLDEN) % 1.0
    return "absent" if u < ABSENT else "gross" if u < ABSENT + GROSS else "normal"


def person(seed: int, number: int) -> Person:
    """Participant `number` (from 0). Mass: about 90 +- 25 g, from sex, size and, in one of eight, hypertrophy."""
    r = rng(seed, number, "person")
    sex: Literal["F", "M"] = "M" if r.random() < 0.48 else "F"
    height = float(r.normal(*((176.0, 6.5) if sex == "M" else (163.0, 6.2))))
    weight = float(np.clip(26.5 * (height / 100) ** 2 + r.normal(0, 11), 45, 140))
    thickened = float(r.uniform(0.3, 1.0)) if r.random() < 0.125 else 0.0
    expected = (100.0 if sex == "M" else 73.0) + 0.3 * (height - 169) + 0.35 * (weight - 76)
    mass = float(np.clip(expected + r.normal(0, 13) + 60 * thickened, 50, 200))
    volume = (150.0 if sex == "M" else 122.0) + 0.5 * (mass - 90) + r.normal(0, 16) - 55 * thickened
    born = date(1936, 1, 1) + timedelta(days=int(r.integers(0, 365 * 33)))
    return Person(
        eid=1_000_000 + (int(np.random.default_rng([seed, 1]).integers(_EIDS)) + number * _EID_STRIDE) % _EIDS,
        name=f"Planted^Phantom{number}", birth=born,
        visit=date(2014, 5, 1) + timedelta(days=int(r.integers(0, 1800))),
        sex=sex, height_cm=round(height, 1), weight_kg=round(weight, 1), heart_rate=int(r.normal(63, 8)),
        mass_g=mass, manual_g=float(np.clip(mass + r.normal(0, 5), 30, 300)),
        edv_ml=float(np.clip(volume, 75, 240)), ejection=float(np.clip(r.normal(0.60, 0.06), 0.35, 0.75)),
        hypertrophy=thickened, inlinevf=inlinevf(seed, number),
    )
