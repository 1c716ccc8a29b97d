"""Signals of the tissues: those of balanced steady-state free precession in the main, and quite other ones."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from lvray.cmr.generated.draws import normal, one_of, uniform

Look = Literal["usual", "spread", "flat", "suppressed", "any"]
LOOKS: dict[Look, float] = {"usual": 0.5, "spread": 0.25, "flat": 0.1, "suppressed": 0.05, "any": 0.1}
"""usual: the order of bSSFP; spread: each tissue further off; flat: little between blood and muscle, as a gradient echo
or a contrast agent leaves; suppressed: dark fat; any: every signal at random, and blood darker than muscle at times."""
LEAST_APART = 0.12
"""Between blood and myocardium, relative to the brighter: less cannot be outlined."""


@dataclass(frozen=True)
class Contrast:
    """Signals relative to the LV's blood in a bSSFP image; stomach and bowel hold what they hold."""

    blood: float
    right_blood: float
    atrial_blood: float
    vessel: float
    myocardium: float
    right_wall: float
    papillary: float
    pericardium: float
    fluid: float
    fat: float
    outer_fat: float
    skin: float
    lung: float
    lung_vessel: float
    liver: float
    liver_vessel: float
    stomach: float
    bowel: float
    spleen: float
    muscle: float
    marrow: float
    cord: float
    air: float
    ink: float


USUAL: dict[str, tuple[float, float]] = {
    "blood": (0.9, 1.1), "right_blood": (0.8, 1.08), "atrial_blood": (0.75, 1.1), "vessel": (0.7, 1.15),
    "myocardium": (0.2, 0.48), "right_wall": (0.2, 0.5), "papillary": (0.2, 0.48), "pericardium": (0.05, 0.3),
    "fluid": (0.9, 1.8), "fat": (0.6, 1.6), "outer_fat": (0.6, 1.6), "skin": (0.8, 2.2), "lung": (0.02, 0.14),
    "lung_vessel": (0.3, 1.0), "liver": (0.22, 0.6), "liver_vessel": (0.4, 1.1), "stomach": (0.03, 1.3),
    "bowel": (0.1, 1.2), "spleen": (0.3, 0.8), "muscle": (0.15, 0.4), "marrow": (0.3, 0.9), "cord": (0.7, 2.0),
    "air": (0.0, 0.03), "ink": (0.0, 0.75)}


def contrast(r: np.random.Generator, look: Look | None = None) -> Contrast:
    """look: drawn by LOOKS unless given."""
    look = look or one_of(r, LOOKS)
    drawn = {name: uniform(r, *limits) for name, limits in USUAL.items()}
    if look == "any":
        return _any(r, drawn)
    fat = drawn["fat"] * (uniform(r, 0.1, 0.35) if look == "suppressed" else 1)
    if look == "flat":
        drawn["myocardium"] = uniform(r, 0.5, 0.78)
        drawn |= {name: drawn[name] + 0.2 for name in ("muscle", "liver", "spleen", "lung")}
    drawn |= {"right_wall": drawn["myocardium"] * normal(r, 1, 0.1, 0.6, 1.4),
              "papillary": drawn["myocardium"] * normal(r, 1, 0.1, 0.6, 1.4),
              "fat": fat, "outer_fat": fat * normal(r, 1, 0.15, 0.5, 1.5)}
    if look == "suppressed":
        drawn["skin"] = fat * uniform(r, 0.8, 1.5)
    if look == "spread":
        drawn |= {name: value * float(np.exp(r.normal(0, 0.3))) for name, value in drawn.items() if name != "ink"}
    return _apart(Contrast(**drawn))


def _any(r: np.random.Generator, drawn: dict[str, float]) -> Contrast:
    """Alike within blood, muscle and fat, which is what makes a heart; for the rest anything goes."""
    said = {field.name: uniform(r, 0.02, 1.3) for field in fields(Contrast)} | {"ink": drawn["ink"]}
    for first, others in (("blood", ("right_blood", "atrial_blood", "vessel")),
                          ("myocardium", ("right_wall", "papillary"))):
        said |= {name: said[first] * normal(r, 1, 0.12, 0.5, 1.5) for name in others}
    return _apart(Contrast(**said))


def _apart(drawn: Contrast) -> Contrast:
    high, low = max(drawn.blood, drawn.myocardium), min(drawn.blood, drawn.myocardium)
    if high - low >= LEAST_APART * high:
        return drawn
    low = high * (1 - LEAST_APART)
    return replace(drawn, blood=high, myocardium=low, papillary=low, right_wall=low)
