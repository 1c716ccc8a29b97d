"""Each flag of masks, images and stacks: raised by what it is for, not by less, and by its own threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lvray.cmr.quality import Flag, image_flags, mask_flags, words
from lvray.settings import Quality


def ring_mask(slices: int = 7) -> NDArray[np.uint8]:
    """Square rings in so many slices, with an empty one at either end."""
    mask = np.zeros((slices + 2, 24, 24), np.uint8)
    mask[1:-1, 6:18, 6:18] = 2
    mask[1:-1, 9:15, 9:15] = 1
    return mask


def image(dtype: Any = np.int16) -> NDArray[Any]:
    return np.random.default_rng(0).gamma(2, 60, (3, 40, 50)).astype(np.int16).astype(dtype)


def test_every_flag_has_words() -> None:
    assert all(words(flag) for flag in Flag)
    assert len({words(flag) for flag in Flag}) == len(Flag)


def test_every_threshold_stands_in_the_words_of_its_flag() -> None:
    """A changed threshold changes some flag's words: none is left out, none is a constant elsewhere."""
    for name, value in Quality():
        changed = tuple(3 * v for v in value) if isinstance(value, tuple) else 3 * value
        other = Quality.model_construct(**{**dict(Quality()), name: changed})
        assert [f for f in Flag if words(f, other) != words(f)], name
    assert "more than 15 mm apart" in words(Flag.WIDE_PITCH, Quality(wide_pitch_mm=15))
    assert "outside 10 to 600 g" in words(Flag.MASS_IMPLAUSIBLE, Quality(mass_g=(10, 600)))


def test_a_good_mask_has_no_flags() -> None:
    assert mask_flags(ring_mask(), 100) == set()
    assert mask_flags(ring_mask(), None) == set()


@pytest.mark.parametrize("grams", [10, 500])
def test_an_implausible_mass(grams: float) -> None:
    assert mask_flags(ring_mask(), grams) == {Flag.MASS_IMPLAUSIBLE}
    assert mask_flags(ring_mask(), grams, Quality(mass_g=(5, 600))) == set()


def test_few_slices() -> None:
    assert mask_flags(ring_mask(5), 100) == {Flag.FEW_SLICES}
    assert mask_flags(ring_mask(5), 100, Quality(mass_slices=5)) == set()


def test_a_gap() -> None:
    mask = ring_mask(8)
    mask[3] = 0
    assert mask_flags(mask, 100) == {Flag.MASK_GAPS}


@pytest.mark.parametrize("edge", [np.s_[2, 0, 5], np.s_[2, -1, 5], np.s_[2, 5, 0], np.s_[2, 5, -1]])
def test_the_border(edge: tuple[int, int, int]) -> None:
    mask = ring_mask()
    mask[edge] = 2
    assert mask_flags(mask, 100) == {Flag.MASK_AT_BORDER}


@pytest.mark.parametrize("kept", [np.s_[1:], np.s_[:-1]])
def test_the_end(kept: slice) -> None:
    assert mask_flags(ring_mask()[kept], 100) == {Flag.MASK_AT_END}


def test_a_cavity_with_little_wall_around_it() -> None:
    mask = ring_mask()
    mask[2, :, 15:] = 0
    assert mask_flags(mask, 100) == set()  # a quarter is open
    assert mask_flags(mask, 100, Quality(wall_share=0.8)) == {Flag.CAVITY_OUTSIDE_MYOCARDIUM}
    mask[2, :9], mask[2, 14:] = 0, 0
    mask[2, :, 15:] = 0
    assert mask_flags(mask, 100) == {Flag.CAVITY_OUTSIDE_MYOCARDIUM}


def test_a_cavity_alone_is_judged_by_where_it_lies() -> None:
    mask = (ring_mask(3) == 1).astype(np.uint8)
    assert mask_flags(mask, None) == set()
    assert mask_flags(mask[1:], None) == {Flag.MASK_AT_END}


def test_an_empty_mask() -> None:
    assert mask_flags(np.zeros((7, 8, 8), np.uint8), 0.0) == {Flag.FEW_SLICES, Flag.MASS_IMPLAUSIBLE}


@pytest.mark.parametrize("scale", [1, 0.001])
def test_a_sound_image_whatever_its_rescale_slope(scale: float) -> None:
    assert image_flags(image()) == set()
    assert image_flags(image(np.float32) * np.float32(scale)) == set()


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_constant_an_empty_and_a_coarse_slice(dtype: Any) -> None:
    for plane in (np.full((40, 50), 7, dtype), np.zeros((40, 50), dtype), image(dtype)[1] // 64):
        odd = image(dtype)
        odd[1] = plane
        assert image_flags(odd) == {Flag.INTENSITY_ODD}
    coarse = image(dtype) // 16
    assert image_flags(coarse) == {Flag.INTENSITY_ODD}
    assert image_flags(coarse, Quality(grey_levels=16)) == set()


def test_a_few_bright_pixels_do_not_make_a_constant_slice_sound() -> None:
    odd = image()
    odd[1] = 7
    odd[1, 0, :15] = np.arange(15) + 100  # of 2,000
    assert image_flags(odd, Quality(grey_levels=2)) == {Flag.INTENSITY_ODD}


def test_a_clipped_slice() -> None:
    clipped = image()
    clipped[2] = np.minimum(clipped[2], np.quantile(clipped[2], 0.97))
    assert image_flags(clipped) == {Flag.INTENSITY_ODD}
    assert image_flags(clipped, Quality(saturated_share=0.05)) == set()
    assert image_flags(np.minimum(image(), np.int16(np.quantile(image(), 0.99)))) == set()
