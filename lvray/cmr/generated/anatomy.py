"""Who: sizes and shapes of a heart at end diastole.

Heart coordinates as in cmr/phantom/heart: x to the lateral wall, y to the inferior wall, z in mm from the mitral plane
to the apex. An angle is atan2(y, x): lateral 0, inferior 90, septal 180, anterior 270 degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.generated.draws import ANGLES, THETA, bump, chance, normal, one_of, uniform, waves

Kind = Literal["normal", "small", "concentric", "asymmetric", "apical", "dilated", "infarct", "right"]
KINDS: dict[Kind, float] = {"normal": 0.36, "small": 0.10, "concentric": 0.13, "asymmetric": 0.09, "apical": 0.03,
                            "dilated": 0.13, "infarct": 0.10, "right": 0.06}
"""Shares of each kind of heart; their ranges in mm follow."""
RADIUS_MM: dict[Kind, tuple[float, float]] = {
    "normal": (19.5, 28), "small": (15, 20), "concentric": (14, 24), "asymmetric": (17, 25), "apical": (18, 25),
    "dilated": (28, 40), "infarct": (22, 36), "right": (15, 23)}
"""Of the cavity where it is widest."""
WALL_MM: dict[Kind, tuple[float, float]] = {
    "normal": (3.8, 8.2), "small": (3.6, 7), "concentric": (8.5, 17), "asymmetric": (5.5, 10), "apical": (5.5, 9),
    "dilated": (4, 9), "infarct": (5, 10), "right": (4, 8.5)}
"""Of the remote wall. Healthy women have 5.3 +- 0.9 mm, men 6.3 +- 1.1, at the middle of a short-axis stack (Kawel et
al. 2012). The thickest sector of an asymmetric heart has 5 to 14 mm more, an infarct 3 to 5.5 in all."""
SEPTAL, OUTFLOW = np.pi, np.radians(212.0)


@dataclass(frozen=True)
class Papillary:
    """A muscle in the cavity. at: angle; reach: distance from the centre as a share of the endocardium's radius;
    levels: from and to, as shares of the length; size: half width in mm; stretch: length along the radius to width."""

    at: float
    reach: float
    levels: tuple[float, float]
    size: float
    stretch: float


@dataclass(frozen=True)
class Ventricle:
    """The left one. Lengths in mm, curves [ANGLES]. `shapes` and `walls`: the relative deviation of radius and wall at
    the base and at the apex; sector: a thinned or thickened part, its thickness in mm and weight by angle, and by
    level its middle and width; bulge: how far it bulges."""

    kind: Kind
    length: float
    radius: float
    wall: float
    apex_wall: float
    widest: float
    power: float
    narrowing: float
    shapes: NDArray[np.float64]
    walls: NDArray[np.float64]
    sector: NDArray[np.float64]
    sector_mm: float
    sector_level: tuple[float, float]
    bulge: float
    base: NDArray[np.float64]
    tilt: NDArray[np.float64]
    papillaries: tuple[Papillary, ...]
    rim_mm: float
    rim_muscle: float


@dataclass(frozen=True)
class Right:
    """The right ventricle and what lies around the base. at: angle; depth, tall: mm from the septum to the free wall,
    and half of what it is across; overlap: how far the LV reaches into its outline; lean, triangle: how that is turned
    against the septum, and how much of a triangle it is; ends: level of its tip; muscle: how trabeculated, 0 to 1;
    band: level, turn and offset of a moderator band. Pools: angle, distance from the LV's centre and radius; septa: of
    their walls."""

    at: float
    depth: float
    tall: float
    overlap: float
    lean: float
    triangle: float
    ends: float
    outline: NDArray[np.float64]
    wall: float
    muscle: float
    band: tuple[float, float, float] | None
    trunk: tuple[float, float, float]
    atrium: tuple[float, float, float]
    left_atrium: tuple[float, float, float]
    aorta: tuple[float, float, float]
    septa: float


@dataclass(frozen=True)
class Wrapping:
    """Fat, pericardium and fluid around the heart, in mm. fat: within the pericardium, by angle; outer: outside it."""

    groove: float
    fat: NDArray[np.float64]
    pericardium: float
    fluid: float
    outer: float
    outer_patchy: float


def ventricle(r: np.random.Generator, kind: Kind | None = None) -> Ventricle:
    """kind: drawn by KINDS unless given."""
    kind = kind or one_of(r, KINDS)
    radius, wall = uniform(r, *RADIUS_MM[kind]), uniform(r, *WALL_MM[kind])
    length = normal(r, 52 + 1.35 * radius, 8, 55, 118)
    sector, sector_mm, level, bulge = _sector(r, kind, wall)
    lean = abs(normal(r, 0, 2.5, -6, 6))
    base = lean * np.cos(THETA - uniform(r, 0, 2 * np.pi))
    base += uniform(r, 4, 20) * length / 85 * bump(normal(r, OUTFLOW, 0.2), uniform(r, 0.3, 0.6)) + waves(r, 0.5)
    septum = 0.0 if not (kind == "right" or chance(r, 0.15)) else uniform(r, 0.05, 0.3)
    shapes = np.stack([waves(r, 0.025), waves(r, 0.035)]) - septum * bump(SEPTAL, 0.6)
    walls = np.stack([waves(r, 0.08, 1, 5), waves(r, 0.10, 1, 5)]) + normal(r, 0.06, 0.06) * bump(SEPTAL, 0.7)
    return Ventricle(
        kind=kind, length=length, radius=radius, wall=wall,
        apex_wall=wall * uniform(r, 1.4, 2.4) if kind == "apical" else max(2.5, wall * uniform(r, 0.35, 1.0)),
        widest=uniform(r, 0.08, 0.4), power=uniform(r, 1.6, 3.2), narrowing=uniform(r, 0, 0.18),
        shapes=shapes, walls=walls, sector=sector, sector_mm=sector_mm, sector_level=level, bulge=bulge, base=base,
        tilt=r.normal(0, 0.08, 2), papillaries=tuple(_papillaries(r, radius, wall)),
        rim_mm=uniform(r, 0, 6) if chance(r, 0.75) else uniform(r, 6, 12), rim_muscle=uniform(r, 0.2, 1.0))


def _sector(r: np.random.Generator, kind: Kind, wall: float) -> tuple[NDArray[np.float64], float, tuple[float, float],
                                                                     float]:
    """Weight by angle, thickness, level and its width, bulge."""
    if kind == "asymmetric":
        at = normal(r, SEPTAL + 0.3, 0.5) if chance(r, 0.8) else uniform(r, 0, 2 * np.pi)
        return (bump(at, uniform(r, 0.35, 0.9)), wall + uniform(r, 5, 14),
                (uniform(r, 0.1, 0.6), uniform(r, 0.2, 0.6)), -uniform(r, 0, 5))
    if kind == "infarct":
        at, width = uniform(r, 0, 2 * np.pi), uniform(r, 0.35, 1.1)
        return (np.minimum(1, 1.3 * bump(at, width)), uniform(r, 3, 5.5),
                (uniform(r, 0.3, 1.0), uniform(r, 0.2, 0.6)), uniform(r, 0, 5) if chance(r, 0.5) else 0.0)
    return np.zeros(ANGLES), wall, (0.5, 1.0), 0.0


def _papillaries(r: np.random.Generator, radius: float, wall: float) -> list[Papillary]:
    """Usually the two groups, anterolateral and posteromedial, each of one to three heads; strands besides."""
    out = []
    thick = 0.11 * radius + 0.12 * wall
    for middle in (np.radians(-48), np.radians(112)):
        at, low, high = normal(r, middle, 0.25), uniform(r, 0.1, 0.4), uniform(r, 0.65, 0.95)
        for _ in range(int(r.choice(4, p=[0.05, 0.55, 0.28, 0.12]))):
            out.append(Papillary(normal(r, at, 0.2), uniform(r, 0.5, 0.95), (low, normal(r, high, 0.05)),
                                 normal(r, thick, 0.8, 1.6, 9), uniform(r, 0.8, 1.9)))
    for _ in range(int(r.choice(5, p=[0.4, 0.25, 0.15, 0.1, 0.1]))):
        start = uniform(r, 0.2, 0.8)
        out.append(Papillary(uniform(r, 0, 2 * np.pi), uniform(r, 0.4, 1.0), (start, start + uniform(r, 0.15, 0.5)),
                             uniform(r, 0.9, 2.2), uniform(r, 0.7, 2.5)))
    return out


def right(r: np.random.Generator, left: Ventricle) -> Right:
    outer = left.radius + left.wall
    large = left.kind == "right" or chance(r, 0.08)
    depth = uniform(r, 40, 62) if large else normal(r, 28, 7, 10, 45)
    return Right(
        at=normal(r, np.radians(184), 0.16), depth=depth, tall=outer * normal(r, 1.12 + 0.12 * large, 0.13, 0.75, 1.5),
        overlap=outer * uniform(r, 0.65, 1.3), lean=normal(r, 0, 0.2), triangle=uniform(r, -0.02, 0.14),
        ends=uniform(r, 0.75, 1.02),
        outline=waves(r, 0.045, 2, 6), wall=uniform(r, 4.5, 9) if large and chance(r, 0.6) else uniform(r, 1.5, 4.5),
        muscle=uniform(r, 0, 1),
        band=(uniform(r, 0.35, 0.75), uniform(r, -0.7, 0.7), normal(r, 0, 9)) if chance(r, 0.5) else None,
        trunk=(normal(r, np.radians(243), 0.15), outer * normal(r, 1.25, 0.1), uniform(r, 12, 20)),
        atrium=(normal(r, np.radians(165), 0.15), outer + uniform(r, 14, 30), uniform(r, 18, 34)),
        left_atrium=(normal(r, np.radians(40), 0.5), uniform(r, 0, 14), uniform(r, 17, 32)),
        aorta=(normal(r, OUTFLOW, 0.15), left.radius * normal(r, 0.85, 0.12), uniform(r, 10, 17)),
        septa=uniform(r, 0.2, 2))


def wrapping(r: np.random.Generator) -> Wrapping:
    """Fat lies in the grooves and over the RV first; one heart in four has it all round."""
    amount, all_round = uniform(r, 0, 4) if chance(r, 0.65) else uniform(r, 4, 12), 0.5 if chance(r, 0.18) else -0.1
    grooves = bump(np.radians(240), 0.45) + 0.8 * bump(np.radians(118), 0.45)
    return Wrapping(
        groove=uniform(r, 2, 22), fat=np.maximum(0, amount * (all_round + 0.9 * grooves + waves(r, 0.25, 1, 4))),
        pericardium=uniform(r, 0.6, 2.2), fluid=uniform(r, 3, 18) if chance(r, 0.07) else 0.0,
        outer=uniform(r, 0, 4) if chance(r, 0.7) else uniform(r, 4, 15), outer_patchy=uniform(r, 0.2, 1.5))
