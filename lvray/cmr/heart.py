"""Where the left ventricle is and when it is fullest, from the images alone. No network.

The centre: edges vote for what lies on their bright side (a radial symmetry transform), weighted by how much the place
moves over the beat. The LV cavity is the roundest bright thing that beats, in slice after slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian, threshold_otsu

RADII_MM = np.arange(10.0, 38.0, 3.0)
"""Of a cavity, from a small apex at ES to a dilated base at ED."""
EDGE_MM, POOL_MM = 2.0, 4.0
"""Blur ahead of the gradient, and of the votes."""
EDGE_SHARE = 0.25
"""The strongest gradients of an image that vote."""
MIDDLE_MM = 60.0
"""Operators centre the stack on the heart: SD of a mild preference for the middle of the image."""
VOTING_PHASES = 2
NEAR_MM = 30.0
"""Radius around the centre within which blood is counted."""
STANDS_OUT = 8.0
"""The winner's votes over the mean (noise: 4, hearts: 20 to 45), below which no heart was found."""


@dataclass(frozen=True)
class Heart:
    """centre_yx: of the LV, pixels; found: it stands out. ed, es: indices of the phases with the largest and the
    smallest bright area near it; swing: the share of itself by which that area shrinks over the beat."""

    centre_yx: tuple[float, float]
    found: bool
    ed: int
    es: int
    swing: float


def find_heart(images: NDArray[Any], spacing_yx: tuple[float, float]) -> Heart:
    """images [P, Z, Y, X] over the beat, of whole numbers or floats; spacing_yx (dy, dx) in mm."""
    step = max(1, round(POOL_MM / spacing_yx[0])), max(1, round(POOL_MM / spacing_yx[1]))
    grid = step[0] * spacing_yx[0], step[1] * spacing_yx[1]
    votes = np.sum([_votes(images[:, z], spacing_yx, step) for z in range(images.shape[1])], 0)
    rows, columns = votes.shape
    votes *= np.exp(-0.5 * (_distance(votes.shape, ((rows - 1) / 2, (columns - 1) / 2), grid) / MIDDLE_MM) ** 2)
    y, x = (int(i) for i in np.unravel_index(votes.argmax(), votes.shape))
    centre = (y + _peak(votes[:, x], y)) * step[0], (x + _peak(votes[y], x)) * step[1]
    found = bool(votes[y, x] > STANDS_OUT * votes.mean())
    area = _bright_area(images, _distance(images.shape[2:], centre, spacing_yx) <= NEAR_MM)
    swing = float((area.max() - area.min()) / max(area.max(), 1.0))
    return Heart(centre, found, int(area.argmax()), int(area.argmin()), swing)


def _votes(images: NDArray[Any], spacing_yx: tuple[float, float], step: tuple[int, int]) -> NDArray[np.float64]:
    """One slice's votes for the centre of the cavity, on a grid of every step-th pixel. images [P, Y, X]."""
    dy, dx = spacing_yx
    thin = slice(None, None, step[0]), slice(None, None, step[1])
    pool = POOL_MM / (step[0] * dy), POOL_MM / (step[1] * dx)
    moves = _motion(images[:, *thin], pool)
    rows, columns = moves.shape
    total = np.zeros((rows, columns))
    for phase in np.unique(np.linspace(0, len(images) - 1, VOTING_PHASES).astype(int)):
        slope = np.gradient(gaussian(images[phase].astype(np.float32), (EDGE_MM / dy, EDGE_MM / dx)), dy, dx)
        gy, gx = (g[thin] for g in slope)
        steep = np.hypot(gy, gx)
        y, x = np.nonzero((steep >= np.quantile(steep, 1 - EDGE_SHARE)) & (steep > 0))
        uy, ux = gy[y, x] / steep[y, x], gx[y, x] / steep[y, x]
        radii = RADII_MM[:, None]
        at_y = np.rint(y + uy * radii / (step[0] * dy)).astype(int)
        at_x = np.rint(x + ux * radii / (step[1] * dx)).astype(int)
        inside = (at_y >= 0) & (at_y < rows) & (at_x >= 0) & (at_x < columns)
        at = (np.arange(len(RADII_MM))[:, None] * rows + at_y) * columns + at_x
        count = np.bincount(at[inside], (moves[y, x] / radii)[inside], minlength=len(RADII_MM) * rows * columns)
        rings = gaussian(count.reshape(-1, rows, columns), (0, *pool))
        total += (rings[1:] + rings[:-1]).max(0)
    return total


def _motion(images: NDArray[Any], pool: tuple[float, float]) -> NDArray[np.float64]:
    """[Y, X], 0 to 1: strength of the first harmonic over the beat; all ones for a single phase."""
    if len(images) < 2:
        return np.ones(images.shape[1:])
    wave = np.exp(-2j * np.pi * np.arange(len(images)) / len(images)).astype(np.complex64)
    strength = gaussian(np.abs(np.tensordot(wave, images.astype(np.float32), 1)), pool)
    high = float(np.quantile(strength, 0.98))
    return np.minimum(strength / high, 1.0) if high > 0 else np.ones(strength.shape)


def _peak(line: NDArray[np.float64], at: int) -> float:
    """How far the top of a parabola lies from the greatest of the votes along a line."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, top, after = line[at - 1:at + 2]
    bend = before - 2 * top + after
    return float((before - after) / (2 * bend)) if bend < 0 else 0.0


def _bright_area(images: NDArray[Any], near: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixels of blood near the centre at each phase: above Otsu's threshold of each slice, smoothed over the beat."""
    area = np.zeros(len(images))
    for z in range(images.shape[1]):
        values = images[:, z, near].astype(np.float32)
        if values.min() < values.max():
            area += (values > threshold_otsu(values)).sum(1)
    return (np.roll(area, 1) + 2 * area + np.roll(area, -1)) / 4 if len(area) >= 5 else area


def _distance(shape: tuple[int, ...], centre: tuple[float, float],
              spacing_yx: tuple[float, float]) -> NDArray[np.float64]:
    """Of each pixel [Y, X] from a point, in mm."""
    y, x = np.ogrid[:shape[0], :shape[1]]
    distance: NDArray[np.float64] = np.hypot((y - centre[0]) * spacing_yx[0], (x - centre[1]) * spacing_yx[1])
    return distance
