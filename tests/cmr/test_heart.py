from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lvray.cmr.heart import find_heart
from lvray.cmr.quality import DEFAULT

SPACING = (1.5, 2.0)


def beating(centre: tuple[float, float], swing: float = 0.3, ed: int = 3, phases: int = 10,
            still: tuple[float, float] = (20, 20)) -> NDArray[np.float32]:
    """[P, Z, Y, X]: a bright disc of 24 mm that beats, a brighter one of the same size that does not, noise."""
    y, x = np.mgrid[:90, :80]
    r = np.random.default_rng(0)

    def disc(at: tuple[float, float], radius: float) -> NDArray[np.bool_]:
        return np.asarray(np.hypot((y - at[0]) * SPACING[0], (x - at[1]) * SPACING[1]) < radius)

    images = r.normal(0, 4, (phases, 3, 90, 80)).astype(np.float32)
    for p in range(phases):
        size = 24 * (1 - swing / 2 * (1 - np.cos(2 * np.pi * (p - ed) / phases)))
        images[p, :, disc(centre, size)] += 100
        images[p, :, disc(still, 24)] += 120
    return images


@pytest.mark.parametrize(("centre", "still"), [
    ((45.0, 40.0), (20.0, 20.0)), ((55.0, 30.0), (20.0, 20.0)), ((38.0, 52.0), (20.0, 20.0)),
    ((64.0, 60.0), (44.0, 39.0))])
def test_the_disc_that_beats_is_the_heart(centre: tuple[float, float], still: tuple[float, float]) -> None:
    heart = find_heart(beating(centre, still=still), SPACING)
    off = np.hypot(*(np.subtract(heart.centre_yx, centre) * SPACING))
    assert off < 6
    assert heart.found


@pytest.mark.parametrize("zoom", [1, 2, 3])
def test_small_pixels_show_the_same_heart(zoom: int) -> None:
    images = beating((55, 30)).repeat(zoom, 2).repeat(zoom, 3)
    heart = find_heart(images, (SPACING[0] / zoom, SPACING[1] / zoom))
    off = np.hypot(*((np.divide(heart.centre_yx, zoom) - (55, 30)) * SPACING))
    assert off < 6
    assert heart.ed == 3


def test_whole_numbers_and_floats_are_alike() -> None:
    whole = np.rint(30 * beating((45, 40))).astype(np.int16)
    assert find_heart(whole, SPACING) == find_heart(whole.astype(np.float32), SPACING)


@pytest.mark.parametrize("ed", [0, 3, 9])
def test_ed_is_the_fullest_phase(ed: int) -> None:
    heart = find_heart(beating((45, 40), ed=ed), SPACING)
    assert (heart.ed, heart.swing >= DEFAULT.ed_swing) == (ed, True)


def test_nothing_that_beats_leaves_ed_unsure() -> None:
    assert find_heart(beating((45, 40), swing=0), SPACING).swing < DEFAULT.ed_swing


def test_noise_is_no_heart() -> None:
    images = np.random.default_rng(0).normal(100, 10, (6, 4, 64, 64)).astype(np.float32)
    assert not find_heart(images, SPACING).found
    assert not find_heart(np.zeros((1, 2, 40, 40), np.float32), SPACING).found
