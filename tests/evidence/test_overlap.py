from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lvray.evidence.overlap import STRUCTURES, Overlap, overlap

Mask = NDArray[np.uint8]


def heart(shape: tuple[int, int, int] = (6, 30, 30)) -> Mask:
    mask = np.zeros(shape, np.uint8)
    mask[1:5, 8:22, 8:22] = 2
    mask[1:5, 12:18, 12:18] = 1
    return mask


def test_dice_by_counting() -> None:
    truth = heart()
    mask = np.roll(truth, 2, axis=2)
    found = overlap(mask, truth, (10.0, 1.8, 1.8))
    for name, labels in STRUCTURES.items():
        a, b = np.isin(mask, labels), np.isin(truth, labels)
        assert found[name].dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert list(found) == ["cavity", "myocardium", "epicardium"]
    assert found["epicardium"].dice == pytest.approx(12 / 14)


def test_the_same_mask() -> None:
    assert set(overlap(heart(), heart(), (10.0, 1.8, 1.8)).values()) == {Overlap(1.0, 0.0, 0.0)}


@pytest.mark.parametrize(("axis", "hd95"), [(0, 10.0), (1, 2.0), (2, 3.0)])
def test_a_shift_by_one_voxel_is_its_spacing_on_that_axis(axis: int, hd95: float) -> None:
    # A slab of that axis, wide on the others, and one that is a voxel thicker on both sides.
    truth, mask = np.zeros((30, 60, 60), np.uint8), np.zeros((30, 60, 60), np.uint8)
    cut: list[slice] = [slice(None)] * 3
    cut[axis] = slice(12, 18)
    truth[tuple(cut)] = 1
    cut[axis] = slice(11, 19)
    mask[tuple(cut)] = 1
    found = overlap(mask, truth, (10.0, 2.0, 3.0))["cavity"]
    assert found.hd95_mm == pytest.approx(hd95)
    assert 0.4 * hd95 < (found.mean_mm or 0) < hd95


def test_concentric_balls_are_their_radii_apart() -> None:
    spacing = (2.0, 1.0, 1.5)
    z, y, x = np.ogrid[:35, :70, :47]
    radius = np.sqrt(((z - 17) * 2.0) ** 2 + ((y - 35) * 1.0) ** 2 + ((x - 23) * 1.5) ** 2)
    small, large = ((radius < r).astype(np.uint8) for r in (20, 26))
    found = overlap(small, large, spacing)["cavity"]
    assert found.mean_mm == pytest.approx(6.0, abs=1.0)  # half of the largest spacing
    assert found.hd95_mm == pytest.approx(6.0, abs=1.0)
    assert overlap(large, small, spacing)["cavity"].mean_mm == pytest.approx(found.mean_mm)


def test_a_mask_at_the_edge_of_the_image_and_a_single_slice() -> None:
    found = overlap(np.ones((1, 4, 4), np.uint8), np.ones((1, 4, 4), np.uint8), (8.0, 2.0, 2.0))
    assert found["cavity"] == Overlap(1.0, 0.0, 0.0)


def test_nothing_there() -> None:
    empty = np.zeros((6, 30, 30), np.uint8)
    assert set(overlap(empty, heart(), (10.0, 1.8, 1.8)).values()) == {Overlap(0.0, None, None)}
    assert set(overlap(empty, empty, (10.0, 1.8, 1.8)).values()) == {Overlap(None, None, None)}
    cavity_only = (heart() == 1).astype(np.uint8)
    assert overlap(cavity_only, heart(), (10.0, 1.8, 1.8))["myocardium"] == Overlap(0.0, None, None)


def test_masks_of_different_shapes_are_a_programmers_error() -> None:
    with pytest.raises(ValueError, match="one shape"):
        overlap(heart(), heart((6, 30, 31)), (10.0, 1.8, 1.8))
