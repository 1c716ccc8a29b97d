from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lvray.cmr.quality import WORDS, Flag, mask_flags


def ring_mask(slices: int = 7) -> NDArray[np.uint8]:
    mask = np.zeros((slices, 24, 24), np.uint8)
    mask[:, 6:18, 6:18] = 2
    mask[:, 9:15, 9:15] = 1
    return mask


def test_every_flag_has_words() -> None:
    assert set(WORDS) == set(Flag)


def test_a_good_mask_has_no_flags() -> None:
    assert mask_flags(ring_mask(), 100) == set()
    assert mask_flags(ring_mask(), None) == set()


@pytest.mark.parametrize("grams", [10, 500])
def test_an_implausible_mass(grams: float) -> None:
    assert mask_flags(ring_mask(), grams) == {Flag.MASS_IMPLAUSIBLE}


def test_few_slices() -> None:
    assert mask_flags(ring_mask(5), 100) == {Flag.FEW_SLICES}


def test_a_gap() -> None:
    mask = ring_mask(8)
    mask[3] = 0
    assert mask_flags(mask, 100) == {Flag.MASK_GAPS}


@pytest.mark.parametrize("edge", [np.s_[:, 0, 5], np.s_[:, -1, 5], np.s_[:, 5, 0], np.s_[:, 5, -1]])
def test_the_border(edge: tuple[slice, int, int]) -> None:
    mask = ring_mask()
    mask[edge] = 2
    assert mask_flags(mask, 100) == {Flag.MASK_AT_BORDER}


def test_a_cavity_with_little_wall_around_it() -> None:
    mask = ring_mask()
    mask[2, :, 15:] = 0
    assert mask_flags(mask, 100) == set()  # a quarter is open
    mask[2, :9], mask[2, 14:] = 0, 0
    mask[2, :, 15:] = 0
    assert mask_flags(mask, 100) == {Flag.CAVITY_OUTSIDE_MYOCARDIUM}


def test_an_empty_mask() -> None:
    assert mask_flags(np.zeros((7, 8, 8), np.uint8), 0.0) == {Flag.FEW_SLICES, Flag.MASS_IMPLAUSIBLE}
