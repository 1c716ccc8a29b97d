"""Where the left ventricle is and when it is fullest, from the images alone. No network.

The centre: edges vote for what lies on their bright side (a radial symmetry transform), weighted by how much the place
moves over the beat. The LV cavity is the roundest bright thing that beats, in slice after slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

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
ED_SWING = 0.08
"""The bright area must shrink by so much of itself over the beat for ED to be sure."""


@dataclass(frozen=True)
class Heart:
    """centre_yx: of the LV, pixels; found: it stands out. ed: index of the ED phase; ed_sure: that one stands out."""

    centre_yx: tuple[float, float]
    found: bool
    ed: int
    ed_sure: bool


def find_heart(images: NDArray[np.float32], spacing_yx: tuple[float, float]) -> Heart:
    """images [P, Z, Y, X] over the beat, spacing_yx (dy, dx) in mm."""
    votes = sum(_votes(images[:, z], spacing_yx) for z in range(images.shape[1]))
    assert isinstance(votes, np.ndarray)
    y, x = np.unravel_index(votes.argmax(), votes.shape)
    centre = float(y), float(x)
    found = bool(votes[y, x] > STANDS_OUT * votes.mean())
    area = _bright_area(images, _distance(votes.shape, centre, spacing_yx) <= NEAR_MM)
    swing = (area.max() - area.min()) / max(area.max(), 1.0)
    return Heart(centre, found, int(area.argmax()), bool(swing >= ED_SWING))


def _votes(images: NDArray[np.float32], spacing_yx: tuple[float, float]) -> NDArray[np.float64]:
    """One slice's votes [Y, X] for the centre of the cavity. images [P, Y, X]."""
    rows, columns = images.shape[1:]
    dy, dx = spacing_yx
    pool = (POOL_MM / dy, POOL_MM / dx)
    moves = _motion(images, pool)
    total = np.zeros((rows, columns))
    for phase in np.unique(np.linspace(0, len(images) - 1, VOTING_PHASES).astype(int)):
        gy, gx = np.gradient(gaussian(images[phase], (EDGE_MM / dy, EDGE_MM / dx)), dy, dx)
        steep = np.hypot(gy, gx)
        y, x = np.nonzero((steep >= np.quantile(steep, 1 - EDGE_SHARE)) & (steep > 0))
        uy, ux, weight = gy[y, x] / steep[y, x], gx[y, x] / steep[y, x], moves[y, x]
        rings = []
        for r in RADII_MM:
            at_y, at_x = np.rint(y + uy * r / dy).astype(int), np.rint(x + ux * r / dx).astype(int)
            ok = (at_y >= 0) & (at_y < rows) & (at_x >= 0) & (at_x < columns)
            count = np.bincount(at_y[ok] * columns + at_x[ok], weight[ok] / r, minlength=rows * columns)
            rings.append(gaussian(count.reshape(rows, columns), pool))
        total += np.max([a + b for a, b in pairwise(rings)], axis=0)
    off = _distance((rows, columns), ((rows - 1) / 2, (columns - 1) / 2), spacing_yx)
    weighted: NDArray[np.float64] = total * np.exp(-0.5 * (off / MIDDLE_MM) ** 2)
    return weighted


def _motion(images: NDArray[np.float32], pool: tuple[float, float]) -> NDArray[np.float64]:
    """[Y, X], 0 to 1: strength of the first harmonic over the beat; all ones for a single phase."""
    if len(images) < 2:
        return np.ones(images.shape[1:])
    wave = np.exp(-2j * np.pi * np.arange(len(images)) / len(images)).astype(np.complex64)
    strength = gaussian(np.abs(np.tensordot(wave, images, 1)), pool)
    high = float(np.quantile(strength, 0.98))
    return np.minimum(strength / high, 1.0) if high > 0 else np.ones(strength.shape)


def _bright_area(images: NDArray[np.float32], near: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixels of blood near the centre at each phase: above Otsu's threshold of each slice, smoothed over the beat."""
    area = np.zeros(len(images))
    for z in range(images.shape[1]):
        values = images[:, z, near]
        if values.min() < values.max():
            area += (values > threshold_otsu(values)).sum(1)
    return (np.roll(area, 1) + 2 * area + np.roll(area, -1)) / 4 if len(area) >= 5 else area


def _distance(shape: tuple[int, ...], centre: tuple[float, float],
              spacing_yx: tuple[float, float]) -> NDArray[np.float64]:
    """Of each pixel [Y, X] from a point, in mm."""
    y, x = np.ogrid[:shape[0], :shape[1]]
    distance: NDArray[np.float64] = np.hypot((y - centre[0]) * spacing_yx[0], (x - centre[1]) * spacing_yx[1])
    return distance
