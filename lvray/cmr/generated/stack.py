"""Where the slices lie: their pixels, pitch and thickness, how far they reach past base and apex, who moved when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.generated.anatomy import Ventricle
from lvray.cmr.generated.draws import chance, normal, one_of, uniform

PIXEL_MM, PITCH_MM, MOST_SLICES = (0.9, 2.4), (6.0, 12.0), 13
SIDES = np.array([144, 150, 160, 162, 180, 192])
"""Rows or columns: those that are quickly transformed."""
_STEPS = np.array([-1 / 3, 0.0, 1 / 3])
"""Planes through the thickness of a slice, as shares of it."""
TO_APEX = np.array([1.0, -1.0, -1.0]) / np.sqrt(3)
"""The usual way from base to apex (LPS: left, posterior, head)."""


@dataclass(frozen=True)
class Stack:
    """Lengths in mm. z [Z]: the slices' middles in heart coordinates, base to apex. turn: of the body in the picture;
    offset: of the heart from the picture's middle (x, y); shifts [Z, 2]: how far breathing moved each slice.

    smear [Z]: how far the heart moved while a slice was taken.
    """

    rows: int
    columns: int
    pixel: float
    pitch: float
    thickness: float
    z: NDArray[np.float64]
    turn: float
    offset: NDArray[np.float64]
    shifts: NDArray[np.float64]
    smear: NDArray[np.float64]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        return self.pitch, self.pixel, self.pixel

    @property
    def planes(self) -> NDArray[np.float64]:
        """z [Z, steps] through the thickness of each slice."""
        return np.asarray(self.z[:, None] + self.thickness * _STEPS)

    def points(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Body coordinates (x, y) in mm of every pixel of a slice [rows, columns], 0 at the heart."""
        down = (np.arange(self.rows) - (self.rows - 1) / 2)[:, None] * self.pixel
        along = (np.arange(self.columns) - (self.columns - 1) / 2)[None] * self.pixel
        x, y = along - self.offset[0] - self.shifts[index, 0], down - self.offset[1] - self.shifts[index, 1]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return cos * x + sin * y, cos * y - sin * x

    def pixel_of(self, xy: NDArray[np.float64], index: int) -> tuple[float, float]:
        """(row, column) of a point in body coordinates."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        x, y = cos * xy[0] - sin * xy[1], sin * xy[0] + cos * xy[1]
        moved = (y, x) + self.offset[::-1] + self.shifts[index, ::-1]
        row, column = moved / self.pixel + np.array([self.rows - 1, self.columns - 1]) / 2
        return float(row), float(column)


def stack(r: np.random.Generator, body: Ventricle) -> Stack:
    """Seven in eight begin at the base or above it; half end below the apex, half in the heart's last slice."""
    pixel = _pixel(r)
    above, below = uniform(r, -0.2, 2.3), uniform(r, -0.5, 1.6)
    if chance(r, 0.12):
        above, below = (uniform(r, -2.2, -0.2), below) if chance(r, 0.5) else (above, uniform(r, -2.2, -0.5))
    pitch = max(_pitch(r), round(body.length / (MOST_SLICES - 1 - max(above, 0) - max(below, 0)), 1))
    pitch = min(pitch, PITCH_MM[1])
    many = int(np.clip(np.floor(body.length / pitch + above + below) + 1, 6, MOST_SLICES))
    z = pitch * (np.arange(many, dtype=np.float64) - above)
    if chance(r, 0.03):
        z = np.delete(z, int(r.integers(1, many - 1)))
    rows, columns = (int(SIDES[np.abs(SIDES - uniform(r, 230, 330) / pixel).argmin()]) for _ in range(2))
    breath = one_of(r, {"calm": 0.55, "some": 0.33, "much": 0.12})
    shifts = r.normal(0, {"calm": 0.5, "some": 1.4, "much": 3.2}[breath], (len(z), 2))
    smear = np.where(r.random(len(z)) < (0.25 if chance(r, 0.15) else 0.01), r.uniform(1.5, 6, len(z)), 0.0)
    turn = np.radians(normal(r, 0, 13, -44, 44) if chance(r, 0.6) else uniform(r, -44, 44))
    return Stack(rows=rows, columns=columns, pixel=pixel, pitch=pitch, thickness=_thickness(r, pitch), z=z, turn=turn,
                 offset=np.clip(r.normal(0, 13, 2), -35, 35), shifts=shifts, smear=smear,
                 affine=_affine(r, turn, pitch, pixel))


def _pixel(r: np.random.Generator) -> float:
    return round(normal(r, 1.5, 0.25, *PIXEL_MM) if chance(r, 0.6) else uniform(r, *PIXEL_MM), 4)


def _pitch(r: np.random.Generator) -> float:
    return float(r.choice([8.0, 10.0])) if chance(r, 0.65) else round(uniform(r, *PITCH_MM), 1)


def _thickness(r: np.random.Generator, pitch: float) -> float:
    """The pitch less a gap, if any."""
    gap = 0.0 if chance(r, 0.4) else uniform(r, 0, min(4.0, pitch - 5))
    return pitch - gap


def _affine(r: np.random.Generator, turn: float, pitch: float, pixel: float) -> NDArray[np.float64]:
    """Index (z, y, x, 1) to patient LPS mm, in lvray's canonical orientation: a turn of up to 45 degrees is left."""
    apex = TO_APEX + r.normal(0, 0.12, 3)
    apex /= np.linalg.norm(apex)
    left = np.array([1.0, 0.0, 0.0]) - apex[0] * apex
    left /= np.linalg.norm(left)
    down = np.cross(left, apex)
    affine = np.eye(4)
    affine[:3, 0] = pitch * apex
    affine[:3, 1] = pixel * (np.cos(turn) * down + np.sin(turn) * left)
    affine[:3, 2] = pixel * (np.cos(turn) * left - np.sin(turn) * down)
    affine[:3, 3] = r.normal(0, 40, 3)
    return affine
