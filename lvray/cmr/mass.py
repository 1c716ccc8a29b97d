"""Voxels to grams and millilitres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DENSITY_G_PER_ML = 1.05
"""Of myocardium (Khurshid et al. 2021)."""
CAVITY, MYOCARDIUM = 1, 2

Spacing = tuple[float, float, float]
"""(dz, dy, dx) in mm; dz is the pitch."""


def millilitres(voxels: float, spacing: Spacing) -> float:
    """1 mL = 1000 mm^3. voxels may be a sum of shares."""
    dz, dy, dx = spacing
    return voxels * dz * dy * dx / 1000


def grams(mask: NDArray[np.uint8], spacing: Spacing) -> float:
    """LV mass of a mask [Z, Y, X]: myocardium (label 2) times 1.05 g/mL."""
    return wall_grams(float((mask == MYOCARDIUM).sum()), spacing)


def wall_grams(voxels: float, spacing: Spacing) -> float:
    return millilitres(voxels, spacing) * DENSITY_G_PER_ML


def cavity_ml(mask: NDArray[np.uint8], spacing: Spacing) -> float:
    return millilitres(float((mask == CAVITY).sum()), spacing)


def areas_mm2(mask: NDArray[np.uint8], label: int, spacing: Spacing) -> list[float]:
    """Of a label, by slice."""
    _, dy, dx = spacing
    return [float(pixels) * dy * dx for pixels in (mask == label).sum((1, 2))]
