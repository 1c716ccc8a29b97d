"""How well two masks of one heart overlap: Dice, and the distances between their surfaces."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import surface_distance
from numpy.typing import NDArray

STRUCTURES: Mapping[str, tuple[int, ...]] = {"cavity": (1,), "myocardium": (2,), "epicardium": (1, 2)}
"""Labels of the mask in each structure; the epicardium is the outline of cavity and myocardium together."""


@dataclass(frozen=True)
class Overlap:
    """dice: 0 to 1. mean_mm: the mean distance of each surface to the other, over the area of both. hd95_mm: the larger
    of the two surfaces' 95th percentiles of it. None: nothing there in both masks, or no distance, as one is empty."""

    dice: float | None
    mean_mm: float | None
    hd95_mm: float | None


def overlap(mask: NDArray[np.uint8], truth: NDArray[np.uint8],
            spacing: tuple[float, float, float]) -> dict[str, Overlap]:
    """Overlap of mask with truth, both uint8 [Z, Y, X], in each of STRUCTURES; spacing (dz, dy, dx) in mm.

    ValueError for masks of different shapes. Surfaces are in 3D, each element weighted by its area: Nikolov et al.,
    arXiv:1809.04430, by their library.
    """
    if mask.shape != truth.shape or mask.ndim != 3:
        raise ValueError(f"masks of one shape [Z, Y, X] wanted, not {mask.shape} and {truth.shape}")
    return {name: _of(np.isin(mask, labels), np.isin(truth, labels), spacing) for name, labels in STRUCTURES.items()}


def _of(mask: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: tuple[float, float, float]) -> Overlap:
    if not mask.any() or not truth.any():
        return Overlap(0.0 if mask.any() or truth.any() else None, None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the library calls SciPy by its old module names
        surfaces = surface_distance.compute_surface_distances(truth, mask, spacing)
    distances = np.concatenate([surfaces["distances_gt_to_pred"], surfaces["distances_pred_to_gt"]])
    areas = np.concatenate([surfaces["surfel_areas_gt"], surfaces["surfel_areas_pred"]])
    return Overlap(
        dice=float(surface_distance.compute_dice_coefficient(truth, mask)),
        mean_mm=float(np.average(distances, weights=areas)),
        hd95_mm=float(surface_distance.compute_robust_hausdorff(surfaces, 95)),
    )
