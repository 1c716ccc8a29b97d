"""The heart's shapes as curves around the LV's axis, at any planes z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.generated.anatomy import OUTFLOW, Right, Ventricle
from lvray.cmr.generated.draws import ANGLES, Curves, away

THINNEST_MM = 2.8
"""Of a wall: thinner ones tear open in pixels of 2.4 mm."""
SMALLEST_CAVITY_MM, SMALLEST_APEX_MM, CLOSING_MM, DOME_MM = 2.0, 5.0, 3.0, 14.0


@dataclass(frozen=True)
class Outlines:
    """The LV's outlines of every slice, as seen through its thickness: radii [Z, ANGLES] in mm, 0 in slices that do
    not count (`method.md`, Definitions: myocardium at least half way round). middle [Z, 2]: the centres, x and y."""

    endo: Curves
    epi: Curves
    middle: NDArray[np.float64]


def walls(body: Ventricle, z: NDArray[np.float64]) -> tuple[Curves, Curves, NDArray[np.bool_]]:
    """Endocardium and epicardium at the planes z [K], and where there is myocardium between them [K, ANGLES].

    In the gap of the outflow tract the two run together along a chord. At the apex the endocardium is 0; above the
    base both close over the blood, which the atrium and the aorta take on.
    """
    level = (z / body.length)[:, None]
    inner = body.radius * _profile(body, z[:, None] / (body.length - body.apex_wall))
    outer = (body.radius + body.wall) * _profile(body, level)
    share = np.clip(level, 0, 1)
    middle, width = body.sector_level
    weight = body.sector * np.exp(-0.5 * ((level - middle) / width) ** 2)
    endo = inner * (1 + body.shapes[0] * (1 - share) + body.shapes[1] * share)
    endo = np.where(inner < SMALLEST_CAVITY_MM, 0.0, np.maximum(endo + body.bulge * weight, 0.0))
    thick = np.maximum(outer - inner, 0) * np.maximum(1 + body.walls[0] * (1 - share) + body.walls[1] * share, 0.5)
    thick = np.where(inner > 0, thick + (body.sector_mm - thick) * weight, thick)
    thick = np.where(outer > SMALLEST_APEX_MM, np.maximum(thick, THINNEST_MM), thick)
    above = (z[:, None] - body.base) / CLOSING_MM
    present = above > 0
    endo = _chord(endo, present) * np.sqrt(np.clip(1 + (z[:, None] + CLOSING_MM) / DOME_MM, 0, 1))
    epi = (endo + thick * np.sqrt(np.clip(above, 0, 1))) * (outer > 0)
    return endo * (outer > 0), epi, present & (outer > 0)


def outlines(body: Ventricle, planes: NDArray[np.float64]) -> Outlines:
    """What one who looks at the slices would outline. planes: z [Z, steps] through the thickness of each slice."""
    endo, epi, present = (a.reshape(*planes.shape, ANGLES) for a in walls(body, planes.ravel()))
    endo, epi = (np.sqrt((curve**2).mean(1)) for curve in (endo, epi))
    counts = (present.mean((1, 2)) >= 0.5) & (epi.mean(1) > SMALLEST_APEX_MM)
    endo = np.where(endo.mean(1, keepdims=True) < SMALLEST_CAVITY_MM, 0.0, endo)
    return Outlines(endo * counts[:, None], epi * counts[:, None], centre(body, planes.mean(1)))


def centre(body: Ventricle, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """LV centres (x, y) [K, 2] in mm at the planes z [K]."""
    return np.asarray((z - body.length / 2)[:, None] * body.tilt)


def right_ventricle(body: Ventricle, side: Right, z: NDArray[np.float64]) -> tuple[NDArray[np.float64], Curves]:
    """Its centres [K, 2] from the LV's, its cavity's outline [K, ANGLES] around them; the LV covers a part of it."""
    level = z / body.length
    outer = (body.radius + body.wall) * np.maximum(_profile(body, level), 0.25)
    tip = np.sqrt(np.clip(1 - (np.maximum(level, 0) / side.ends) ** 2, 0, 1))
    tip = tip * np.clip((level + 0.25) / 0.2, 0, 1)
    depth, overlap = side.depth * tip, side.overlap * outer / outer.max()
    far = outer + (depth - overlap) / 2
    along, across = (depth + overlap) / 2 * (tip > 0), side.tall * (0.35 + 0.65 * tip) * outer / outer.max() * (tip > 0)
    turn = away(side.at + side.lean)
    radius = 1 / np.sqrt((np.cos(turn) / np.maximum(along, 1e-3)[:, None]) ** 2
                         + (np.sin(turn) / np.maximum(across, 1e-3)[:, None]) ** 2)
    middle = far[:, None] * np.array([np.cos(side.at), np.sin(side.at)])
    return middle, radius * (1 + side.outline) * (1 - side.triangle * np.cos(3 * turn))


def pools(body: Ventricle, side: Right,
          z: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Round blood pools around the base: centres [K, 2] from the LV's and radii [K]; left atrium, right atrium,
    pulmonary trunk, then the aorta, which opens into the gap of the C."""
    out = []
    for (angle, far, radius), lowest, rising in ((side.left_atrium, 3.0, 0.4), (side.atrium, -2.0, 0.2),
                                                 (side.trunk, 0.22 * body.length, 0.1),
                                                 (side.aorta, float(body.base.max()), 0.0)):
        rise = np.clip(lowest - z, 0, 40)
        distance = far + rising * rise
        out.append((distance[:, None] * np.array([np.cos(angle), np.sin(angle)]),
                    radius * np.sqrt(np.clip((lowest - z) / 12, 0, 1))))
    return out


def _profile(body: Ventricle, level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radius by level, 1 where it is widest, 0 from the apex on; a little narrower at the base."""
    below = np.clip((level - body.widest) / (1 - body.widest), 0, 1)
    above = np.clip((body.widest - level) / body.widest, 0, 2)
    return np.asarray(np.sqrt(np.maximum(1 - below**body.power, 0)) * (1 - body.narrowing * above))


def _chord(endo: Curves, present: NDArray[np.bool_]) -> Curves:
    """Across the gap of a C the outline takes the straight way."""
    half = np.clip((~present).sum(1) * np.pi / ANGLES, 0, 0.9)[:, None]
    turn = np.abs(away(OUTFLOW))
    straight = np.cos(half) / np.cos(np.minimum(turn, half))
    return np.where(~present & (turn < half), endo * straight, endo)

