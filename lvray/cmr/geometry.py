"""Where voxels are: the Volume, its affine and the canonical in-plane orientation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOWARD_BASE = np.array([-1.0, 1.0, 1.0]) / np.sqrt(3.0)
"""About the direction from apex to base in patient coordinates (LPS): right, posterior, head."""


@dataclass(frozen=True)
class Volume:
    """One phase of a short-axis stack.

    image: float32 or int16 [Z, Y, X], base to apex.
    spacing: (dz, dy, dx) in mm; dz is the pitch (centre to centre), not the slice thickness.
    affine: float64 [4, 4]; maps an index (z, y, x, 1) to patient coordinates in mm (DICOM LPS).
    phase: index of the phase among those present, from 0.
    """

    image: NDArray[np.float32] | NDArray[np.int16]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    phase: int

    def turned(self, turn: Turn) -> Volume:
        dz, dy, dx = self.spacing
        return replace(self, image=turn.apply(self.image), spacing=(dz, dx, dy) if turn.transpose else (dz, dy, dx),
                       affine=turn.apply_affine(self.affine, self.image.shape))


@dataclass(frozen=True)
class Turn:
    """A lossless change of the in-plane axes: rows and columns swapped first, then each reversed or not."""

    transpose: bool
    flip_y: bool
    flip_x: bool

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """[..., Y, X] to the turned [..., Y', X']; contiguous."""
        a = array.swapaxes(-1, -2) if self.transpose else array
        return np.ascontiguousarray(a[..., ::-1 if self.flip_y else 1, ::-1 if self.flip_x else 1])

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        a = array[..., ::-1 if self.flip_y else 1, ::-1 if self.flip_x else 1]
        return np.ascontiguousarray(a.swapaxes(-1, -2) if self.transpose else a)

    def apply_point(self, yx: tuple[float, float], shape: tuple[int, ...]) -> tuple[float, float]:
        """A point in pixels of the array before the turn, of this shape [..., Y, X], in pixels after it."""
        (y, x), (rows, columns) = yx, shape[-2:]
        if self.transpose:
            y, x, rows, columns = x, y, columns, rows
        return (rows - 1 - y if self.flip_y else y, columns - 1 - x if self.flip_x else x)

    def apply_affine(self, affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """The affine of the turned array. shape: that of the array before the turn, [..., Y, X]."""
        out = affine.copy()
        rows, columns = shape[-2:]
        if self.transpose:
            out[:, [1, 2]] = out[:, [2, 1]]
            rows, columns = columns, rows
        for axis, flip, n in ((1, self.flip_y, rows), (2, self.flip_x, columns)):
            if flip:
                out[:, 3] += out[:, axis] * (n - 1)
                out[:, axis] *= -1
        return out


def canonical(affine: NDArray[np.float64]) -> Turn:
    """The turn after which columns run toward the patient's left and rows toward the feet, as far as 90 degrees allow.

    Seen so, the right ventricle lies on the left of the picture, as in a textbook. The result is right-handed with
    respect to apex-to-base for every input, mirrored ones included. affine: of a stack ordered base to apex.
    """
    z, y, x = (affine[:3, i] / np.linalg.norm(affine[:3, i]) for i in range(3))
    left = np.array([1.0, 0.0, 0.0])
    transpose = bool(abs(y @ left) > abs(x @ left))
    if transpose:
        y, x = x, y
    flip_x = bool(x @ left < 0)
    handed = np.cross(-x if flip_x else x, y) @ -z
    return Turn(transpose, bool(handed < 0), flip_x)


def tilt(affine: NDArray[np.float64]) -> float:
    """By how many radians the patient's left, seen in the slices' plane, lies turned from the columns toward the rows:
    what `canonical` leaves open, within 45 degrees. 0 where left is the plane's normal."""
    down, across = (affine[:3, i] / np.linalg.norm(affine[:3, i]) for i in (1, 2))
    return float(np.arctan2(down[0], across[0]))


def toward_base(normal: NDArray[np.float64]) -> float:
    """Cosine between a plane's normal and the usual long axis of the heart."""
    return float(normal @ TOWARD_BASE)
