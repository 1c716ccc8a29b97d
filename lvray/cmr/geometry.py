"""Where voxels are: the Volume, slice normals, pitch, affine and the canonical in-plane orientation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
