"""The shape and motion of the heart, as radii around the LV's long axis.

Heart coordinates in mm: x to the lateral wall, y to the inferior wall, z from the mitral plane to the apex, measured
at end diastole along the long axis. Seen from the apex, x points right and y down. An angle is atan2(y, x): lateral 0,
inferior 90, septal 180, anterior 270 degrees. A curve is a radius in mm at each of ANGLES angles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.phantom.people import Person, PhantomOptions, rng

ANGLES = 720
THETA: NDArray[np.float64] = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False, dtype=np.float64)
PITCH_MM = 10.0
DENSITY_G_ML = 1.05
_OUTFLOW = np.radians(212.0)
_SMALLEST_CAVITY_MM, _SMALLEST_APEX_MM = 2.0, 6.0

Curves = NDArray[np.float64]


@dataclass(frozen=True)
class Heart:
    """Lengths in mm at end diastole; `z` [Z] are the slices' planes, base to apex.

    shape, thickness: waves of the endocardium's radius and of the wall (see `_ripple`); trabeculae: depths, 6 mm of z a
    row; tilt: mm the axis leans (x, y) per mm of z; bounce: mm the LV moves (x, y) with the whole stroke.
    """

    length: float
    radius: float
    wall: float
    apex_wall: float
    ejection: float
    shortening: float
    shape: NDArray[np.float64]
    thickness: NDArray[np.float64]
    septal_bulge: float
    outflow_depth: float
    base_tilt: tuple[float, float]
    papillary_mm: tuple[float, float]
    papillary_at: tuple[float, float]
    trabeculae: NDArray[np.float64]
    rim_mm: float
    rv_depth: float
    fat_mm: float
    tilt: NDArray[np.float64]
    bounce: NDArray[np.float64]
    z: NDArray[np.float64]


def ejected(phases: int) -> NDArray[np.float64]:
    """Share of the stroke volume that has left the LV in each phase: 0 at phase 1 alone, most at end systole."""
    knots, shares = np.array([0, 0.36, 0.68, 0.86, 1.0]), np.array([0, 1.0, 0.28, 0.22, 0])
    time = np.arange(phases) / phases
    part = np.searchsorted(knots, time, side="right") - 1
    along = (time - knots[part]) / (knots[part + 1] - knots[part])
    ease = 0.5 - 0.5 * np.cos(np.pi * along)
    return np.asarray(shares[part] + (shares[part + 1] - shares[part]) * ease)


def heart(person: Person, seed: int, number: int, options: PhantomOptions) -> Heart:
    """The heart of a person, its wall as thick as makes the imaged slices weigh `person.mass_g`.

    A stack of few slices gets a shorter heart, so that the whole of it is imaged.
    """
    r = rng(seed, number, "heart")
    natural = 80 + 0.25 * (person.height_cm - 169) + r.normal(0, 3.5)
    stack = (options.slices - 1) * PITCH_MM
    length = float(np.clip(natural, 60, stack - 2))
    volume = person.edv_ml * 1000 * length / 84
    radius = float(np.clip(np.sqrt(volume / (0.74 * np.pi * length)), 18, 33))
    spare = stack - length
    first = -float(r.uniform(0.25, 0.75)) * spare
    fade = 1 / np.arange(2, 5)[:, None]
    body = Heart(
        length=length, radius=radius, wall=8.0, apex_wall=float(r.uniform(5, 8)),
        ejection=person.ejection, shortening=float(r.uniform(0.11, 0.18)),
        shape=r.normal(0, 0.035, (3, 3)) * fade, thickness=r.normal(0, 0.11, (3, 3)) * fade,
        septal_bulge=float(person.hypertrophy * r.uniform(0.2, 0.9)) if r.random() < 0.6 else 0.0,
        outflow_depth=float(r.uniform(8, 17)),
        base_tilt=(float(r.uniform(0, 2.5)), float(r.uniform(0, 2 * np.pi))),
        papillary_mm=(float(r.uniform(3.4, 5.6)), float(r.uniform(3.6, 6.0))),
        papillary_at=(float(np.radians(r.normal(-48, 12))), float(np.radians(r.normal(112, 12)))),
        trabeculae=r.uniform(0.6, 1.4) * np.abs(r.normal(0, 1, (24, 40))) ** 1.5, rim_mm=float(r.uniform(3, 8)),
        rv_depth=float(r.normal(38, 4)), fat_mm=float(r.uniform(1.5, 5)),
        tilt=r.normal(0, 0.07, 2), bounce=r.normal(0, 1.6, 2),
        z=first + np.arange(options.slices, dtype=np.float64) * PITCH_MM,
    )
    return _weighed(body, person.mass_g)


def material(body: Heart, z: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The end-diastolic z of what lies at z when `share` of the stroke is out: the base comes down, the apex stays."""
    return np.asarray(body.length - (body.length - z) / (1 - body.shortening * share))


def walls(body: Heart, z: NDArray[np.float64], share: float) -> tuple[Curves, Curves, NDArray[np.bool_]]:
    """Endocardium and epicardium [K, ANGLES] in mm at the planes z [K], and where there is myocardium between them.

    Myocardial volume is kept: its area in a slice grows as the long axis shortens. Around the outflow tract the two
    curves run together along a chord. At the apex the endocardium is 0.
    """
    z0 = material(body, z, share)[:, None]
    inner = body.radius * _profile(z0 / (body.length - body.apex_wall))
    outer = (body.radius + body.wall) * _profile(z0 / body.length)
    endo = inner * (1 + _ripple(body.shape, z0 / body.length))
    endo = np.where(inner < _SMALLEST_CAVITY_MM, 0.0, endo)
    septum, basal = (_from(np.pi + 0.35) / 0.8) ** 2, ((z0 / body.length - 0.3) / 0.35) ** 2
    bulge = body.septal_bulge * np.exp(-septum - basal)
    region = 1 + 0.08 * np.cos(THETA - np.pi) + _ripple(body.thickness, z0 / body.length) + bulge
    above = (z0 - _base(body)) / 3.0
    present = above > 0
    thick = np.maximum(outer - inner, 0) * region * np.sqrt(np.clip(above, 0, 1))
    endo = _chord(endo, present)
    keep, squeeze = 1 - body.shortening * share, 1 - body.ejection * share
    now = endo * np.sqrt(squeeze / keep)
    return now, np.sqrt(now**2 + ((endo + thick) ** 2 - endo**2) / keep), present


def outlines(body: Heart, share: float) -> tuple[Curves, Curves, NDArray[np.bool_]]:
    """The true endocardium and epicardium [Z, ANGLES] in mm of every slice, and which slices have LV myocardium [Z].

    A slice counts when myocardium goes at least half way round (`method.md`, Definitions); else its curves are 0.
    """
    endo, epi, present = walls(body, body.z, share)
    counts = (present.mean(1) >= 0.5) & (epi.mean(1) > _SMALLEST_APEX_MM)
    return endo * counts[:, None], epi * counts[:, None], counts


def volume_ml(curves: Curves) -> float:
    """Volume within curves [Z, ANGLES], slice areas times the pitch."""
    return float((curves**2).sum() * np.pi / ANGLES * PITCH_MM / 1000)


def mass_g(body: Heart, share: float = 0.0) -> float:
    """LV mass over the imaged slices."""
    endo, epi, _ = outlines(body, share)
    return DENSITY_G_ML * (volume_ml(epi) - volume_ml(endo))


def right_ventricle(body: Heart, z: NDArray[np.float64], share: float, epi: Curves) -> tuple[Curves, Curves, Curves]:
    """Outer radii [K, ANGLES] of the RV's cavity (the LV's epicardium where there is none), of its wall and of the
    epicardial fat that rounds off the grooves where the RV joins the LV."""
    level = material(body, z, share)[:, None] / body.length
    start, end = np.radians(118.0), np.radians(236.0) + 0.5 * np.clip(0.45 - level, 0, 0.6)
    across = np.clip((THETA - start) / (end - start), 0, 1)
    window = np.sin(np.pi * across) ** 0.75 * (0.85 + 0.3 * across)
    depth = body.rv_depth * (1 - 0.38 * share) * np.sqrt(np.clip(1 - np.maximum(level, 0) / 0.9, 0, 1))
    cavity = epi + depth * window * (1 + 0.06 * np.sin(9 * THETA + 7 * level))
    wall = cavity + 3.2 * np.clip(window * 4, 0, 1) * np.clip(depth / 8, 0, 1)
    groove = 0.6 + 2.2 * np.clip(0.35 - level, 0, 0.5)
    fat = np.maximum(_rounded(wall) + body.fat_mm * groove * (0.45 - 0.45 * np.cos(THETA)) + 0.5, wall + 0.4)
    return cavity, wall, fat * np.clip(epi.mean(1, keepdims=True) / 6, 0, 1)


def vessels(body: Heart, z: NDArray[np.float64], share: float) -> list[tuple[float, Curves, Curves]]:
    """Round blood pools above the base: angle, distance [K] from the LV's centre and radius [K] in mm.

    Pulmonary trunk and right atrium beside the LV, then the aorta, which opens into the gap of the C.
    """
    z0 = material(body, z, share)
    pools = ((np.radians(252.0), 1.45 * body.radius, 13.0, 6.0), (np.radians(165.0), 2.1 * body.radius, 23.0, 12.0),
             (_OUTFLOW, 0.85 * body.radius, 14.0, body.outflow_depth))
    return [(angle, np.full_like(z0, far), radius * np.sqrt(np.clip((lowest - z0) / 14, 0, 1)))
            for angle, far, radius, lowest in pools]


def papillaries(body: Heart, z: NDArray[np.float64], share: float) -> list[tuple[float, Curves, Curves]]:
    """For both papillary muscles: angle, centre as a share [K] of the endocardial radius, half width [K] in mm."""
    level = material(body, z, share) / body.length
    size = np.sqrt(np.clip(1 - ((level - 0.58) / 0.28) ** 2, 0, 1)) * (1 + 0.15 * share)
    return [(angle, 0.58 + 0.34 * np.clip((level - 0.4) / 0.35, 0, 1), radius * size)
            for angle, radius in zip(body.papillary_at, body.papillary_mm, strict=True)]


def centre(body: Heart, z: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """LV centres (x, y) [K, 2] in mm at the planes z [K]: the axis is never quite the stack's."""
    return np.asarray((z - body.length / 2)[:, None] * body.tilt + share * body.bounce)


def _weighed(body: Heart, target: float) -> Heart:
    """The heart with the wall that weighs `target`, by the secant method: mass grows steadily with the wall."""
    before, body = replace(body, wall=4.0), replace(body, wall=9.0)
    error = mass_g(before) - target
    for _ in range(12):
        last, error = error, mass_g(body) - target
        if abs(error) < 1e-6:
            break
        before, body = body, replace(body, wall=body.wall - error * (body.wall - before.wall) / (error - last))
    return body


def _profile(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radius against z, 1 at its widest, 0 from the apex on: an ellipsoid with a slightly narrower base."""
    widest = 0.32
    down = np.clip((level - widest) / (1 - widest), 0, 1)
    up = np.clip((widest - level) / widest, 0, 2.5)
    return np.asarray(np.sqrt(1 - down**2) - 0.1 * up**2)


def _ripple(waves: NDArray[np.float64], level: NDArray[np.float64]) -> Curves:
    """Harmonics 2, 3, 4 whose size and direction drift from base to apex. waves: [3, (cos, sin, drift)]."""
    order = np.arange(2, 5)[:, None, None]
    a, b, drift = (waves[:, i, None, None] for i in range(3))
    turn = order * THETA + 25 * drift * level
    return np.asarray((a * np.cos(turn) + b * np.sin(turn)).sum(0))


def _from(angle: float) -> NDArray[np.float64]:
    return np.asarray((THETA - angle + np.pi) % (2 * np.pi) - np.pi)


def _base(body: Heart) -> NDArray[np.float64]:
    """z at which myocardium begins at each angle: lowest at the outflow tract."""
    size, towards = body.base_tilt
    return np.asarray(size * np.cos(THETA - towards) + body.outflow_depth * np.exp(-((_from(_OUTFLOW) / 0.75) ** 4)))


def _chord(endo: Curves, present: NDArray[np.bool_]) -> Curves:
    """Across the gap of a C the outline takes the straight way."""
    half = np.clip((~present).sum(1) * np.pi / ANGLES, 0, 1.2)[:, None]
    away = np.abs(_from(_OUTFLOW))
    straight = np.cos(half) / np.cos(np.minimum(away, half))
    return np.where((~present) & (away < half), endo * straight, endo)


def _rounded(curves: Curves, width: float = 0.3) -> Curves:
    """Curves smoothed around the circle by a Gaussian of `width` radians."""
    spectrum = np.fft.rfft(curves, axis=-1)
    keep = np.exp(-0.5 * (width * np.arange(spectrum.shape[-1])) ** 2)
    return np.asarray(np.fft.irfft(spectrum * keep, n=ANGLES, axis=-1))
