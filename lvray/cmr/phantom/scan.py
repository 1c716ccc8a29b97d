"""Where the scanner put its slices: patient axes of the heart, rows and columns, and the way back from pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.phantom.heart import Heart
from lvray.cmr.phantom.people import PhantomOptions, rng

TO_APEX: NDArray[np.float64] = np.array([1.0, -1.0, -1.0]) / np.sqrt(3)
"""The usual way from base to apex in patient coordinates (LPS: left, posterior, superior)."""


@dataclass(frozen=True)
class Plane:
    """One image plane in heart coordinates: pixel (row i, column j) lies at origin + i * down + j * right, in mm."""

    origin: NDArray[np.float64]
    down: NDArray[np.float64]
    right: NDArray[np.float64]

    def points(self, rows: int, columns: int) -> NDArray[np.float64]:
        """Heart coordinates [rows, columns, 3] of every pixel."""
        i, j = np.arange(rows)[:, None, None], np.arange(columns)[None, :, None]
        return np.asarray(self.origin + i * self.down + j * self.right)


@dataclass(frozen=True)
class Scan:
    """Geometry of a study. axes: rows are the patient directions (LPS) of heart x, y, z; isocentre: LPS of heart 0.

    `drift` [Z, 2] is how far breathing moved the body, in mm, when each slice was taken.
    """

    rows: int
    columns: int
    pixel_mm: float
    axes: NDArray[np.float64]
    isocentre: NDArray[np.float64]
    turn: float
    offset: NDArray[np.float64]
    z: NDArray[np.float64]
    drift: NDArray[np.float64]

    def short_axis(self, index: int) -> Plane:
        """The plane of slice `index`, row cross column towards the base, at any angle about the long axis."""
        right = np.array([np.cos(self.turn), np.sin(self.turn), 0.0]) * self.pixel_mm
        down = np.array([-np.sin(self.turn), np.cos(self.turn), 0.0]) * self.pixel_mm
        middle = np.array([*self.offset, self.z[index]])
        return Plane(middle - down * (self.rows - 1) / 2 - right * (self.columns - 1) / 2, down, right)

    def long_axis(self, middle_z: float) -> Plane:
        """A plane through the mitral valve and the apex."""
        right = np.array([0.8, 0.6, 0.0]) * self.pixel_mm
        down = np.array([0.0, 0.0, 1.0]) * self.pixel_mm
        middle = np.array([*self.offset, middle_z])
        return Plane(middle - down * (self.rows - 1) / 2 - right * (self.columns - 1) / 2, down, right)

    def patient(self, heart_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Patient coordinates (LPS, mm) of heart coordinates [..., 3]."""
        return np.asarray(self.isocentre + heart_mm @ self.axes)

    def pixels(self, heart_mm: NDArray[np.float64], index: int) -> NDArray[np.float64]:
        """(x, y) = (column, row), from 0 at the first pixel's centre, of heart points [N, 2] in slice `index`."""
        plane = self.short_axis(index)
        away = heart_mm + self.drift[index] - plane.origin[:2]
        return np.stack([away @ plane.right[:2], away @ plane.down[:2]], -1) / self.pixel_mm**2


def scan(body: Heart, seed: int, number: int, options: PhantomOptions) -> Scan:
    """A scan of the heart: apex within 15 degrees of the usual way, any in-plane angle, the heart off the centre."""
    r = rng(seed, number, "scan")
    pixel = round(float(r.uniform(1.6, 2.1)), 4)
    towards, angle = r.normal(size=3), r.uniform(0, np.radians(15))
    sideways = np.cross(towards, TO_APEX)
    apex = np.cos(angle) * TO_APEX + np.sin(angle) * sideways / np.linalg.norm(sideways)
    lateral = np.array([1.0, 1.0, 0.0])
    lateral -= lateral @ apex * apex
    lateral /= np.linalg.norm(lateral)
    reach = np.minimum(np.array([options.columns, options.rows]) * pixel * 0.07, 16)
    return Scan(
        rows=options.rows, columns=options.columns, pixel_mm=pixel,
        axes=np.stack([lateral, np.cross(lateral, apex), apex]), isocentre=r.normal(0, 20, 3),
        turn=float(r.uniform(0, 2 * np.pi)), offset=r.uniform(-1, 1, 2) * reach + [-8, 0],
        z=body.z, drift=r.normal(0, 0.8, (options.slices, 2)),
    )
