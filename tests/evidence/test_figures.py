from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from lvray.evidence import figures
from lvray.evidence.figures import ORANGE, SKY, Study


def heart(slices: int = 8, size: int = 96) -> Study:
    """A ring in the middle of a noisy stack; the first two slices carry no mask."""
    y, x = np.mgrid[:size, :size] - size / 2
    radius = np.hypot(y, x)
    mask = np.where(radius < 12, 1, np.where(radius < 18, 2, 0)).astype(np.uint8)
    masks = np.repeat(mask[None], slices, axis=0)
    masks[:2] = 0
    image = (np.random.default_rng(0).normal(100, 10, masks.shape) + 100 * (masks == 1)).astype(np.float32)
    return Study("0123abcd", image, (10.0, 1.8, 1.8), masks)


def pixels(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png), format="png")[..., :3]


def has(png: bytes, colour: str) -> bool:
    return bool((np.abs(pixels(png) - to_rgb(colour)).max(axis=-1) < 0.06).sum() > 30)


def test_overlay_draws_each_mask_in_its_colour() -> None:
    one = heart()
    two = dataclasses.replace(one, other=one.mask)
    assert has(figures.overlay(one), ORANGE)
    assert not has(figures.overlay(one), SKY)
    assert has(figures.overlay(two), SKY)
    assert not has(figures.overlay(dataclasses.replace(one, mask=None)), ORANGE)


def test_overlay_keeps_millimetres_square() -> None:
    study = heart()
    image, mask = study.image[:, ::2], study.mask
    assert mask is not None
    thinned = Study("x", image, (10.0, 3.6, 1.8), mask[:, ::2])
    height, width = pixels(figures.overlay(study)).shape[:2]
    thinned_height, thinned_width = pixels(figures.overlay(thinned)).shape[:2]
    assert width == thinned_width
    assert abs(height - thinned_height) <= 0.04 * height


def test_overlay_refuses_a_mask_of_another_shape() -> None:
    study = heart()
    assert study.mask is not None
    with pytest.raises(ValueError, match="does not fit"):
        figures.overlay(dataclasses.replace(study, mask=study.mask[:3]))


def test_slices_come_from_where_the_mask_is() -> None:
    study = heart()
    assert figures.three_slices(study) == (3, 4, 6)
    assert figures.three_slices(dataclasses.replace(study, mask=None)) == (1, 4, 6)


@pytest.mark.parametrize("image", [np.zeros((1, 8, 8), np.int16), np.full((3, 8, 8), 7, np.float32)])
def test_flat_and_single_slice_images_are_drawn(image: np.ndarray) -> None:
    study = Study("x", image, (10.0, 1.0, 1.0), np.full(image.shape, 2, np.uint8))
    assert figures.overlay(study).startswith(b"\x89PNG")
    assert figures.contact_sheet([study]).startswith(b"\x89PNG")


def test_every_picture_is_the_same_to_the_byte() -> None:
    study = heart()

    def draw() -> list[bytes]:
        return [figures.overlay(study), figures.overview(study, ["a", "b", "c"]), figures.contact_sheet([study] * 8)]

    pictures = draw()
    assert pictures == draw()
    assert not any(b"Software" in png for png in pictures)
    assert max(map(len, pictures)) < 300_000


def test_pictures_of_nothing() -> None:
    with pytest.raises(ValueError, match="no study"):
        figures.contact_sheet([])
