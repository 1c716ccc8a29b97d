from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvray.nets import box
from lvray.nets.resample import resample, resample_labels

Line = tuple[float, float, int]


def hearts(pixel: tuple[float, float]) -> np.ndarray:
    """A ring of muscle, 24 to 33 mm around a cavity, off the middle, in two slices of 240 x 240 mm."""
    rows, columns = (round(240 / p) for p in pixel)
    y = (np.arange(rows)[:, None] - (rows - 1) / 2) * pixel[0] - 3.3
    x = (np.arange(columns) - (columns - 1) / 2) * pixel[1] + 4.1
    r = np.hypot(y, x)
    mask = np.where(r < 24, 1, np.where(r < 33, 2, 0)).astype(np.uint8)
    return np.stack([mask, mask])


def one_hot(mask: np.ndarray) -> np.ndarray:
    return np.stack([255 * (mask == label).astype(np.uint8) for label in (1, 2)])


def points(rows: Line, columns: Line) -> np.ndarray:
    """In rows and columns: where the first lies, how far they are apart, how many there are."""
    y, x = (start + step * np.arange(n) for start, step, n in (rows, columns))
    return np.stack([a.ravel() for a in np.broadcast_arrays(y[:, None], x)])


def regular(image: np.ndarray, rows: Line, columns: Line) -> np.ndarray:
    return resample(image, points(rows, columns), (rows[1], columns[1])).reshape(len(image), rows[2], columns[2])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(-6, 6), st.integers(-6, 6), st.integers(1, 12), st.integers(1, 12))
def test_pixels_of_the_same_size_are_the_images_own(y: int, x: int, rows: int, columns: int) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (2, 7, 9)).astype(np.int16)
    at_y, at_x = (np.clip(np.arange(n) + s, 0, m - 1) for n, s, m in ((rows, y, 7), (columns, x, 9)))
    np.testing.assert_array_equal(regular(image, (y, 1.0, rows), (x, 1.0, columns)), image[:, at_y[:, None], at_x])


@pytest.mark.parametrize("step", [0.3, 0.77, 1.25, 2.6])
def test_a_ramp_stays_a_ramp_and_a_constant_a_constant(step: float) -> None:
    ramp = np.broadcast_to(np.arange(60.0), (1, 60, 60)).astype(np.float32)
    taken = regular(ramp, (10.5, step, 9), (11.25, step, 9))
    np.testing.assert_allclose(taken[0], np.broadcast_to(11.25 + step * np.arange(9), (9, 9)), atol=0.1)
    flat = regular(np.full((1, 5, 5), 7, np.int16), (-3, step, 9), (-3, step, 9))
    np.testing.assert_allclose(flat, 7, rtol=1e-6)


def test_larger_pixels_hold_the_mean_of_what_they_cover() -> None:
    """Noise falls as a mean's does: nothing is skipped."""
    noise = np.random.default_rng(0).normal(0, 1, (1, 300, 300))
    assert regular(noise, (2, 3.0, 90), (2, 3.0, 90)).std() < 0.3


@pytest.mark.parametrize("tilt", [0.0, 0.5, -2.0])
@pytest.mark.parametrize("pixel", [(1.5, 1.5), (0.9, 0.9), (1.83, 1.83), (2.4, 2.4), (1.2, 1.9)])
def test_a_heart_keeps_its_place_and_size_there_and_back(pixel: tuple[float, float], tilt: float) -> None:
    """Radii of 24 and 33 mm, in pixels of any size: areas within 3 % of the shape's own, both ways."""
    mask = hearts(pixel)
    centre = (mask.shape[1] / 2 + 1.7, mask.shape[2] / 2 - 2.2)
    step = (1.5 / pixel[0], 1.5 / pixel[1])
    placement = box.place(mask.shape, centre, (2, 96, 96), box.Grid(step, tilt))
    taken = box.take_mask(mask, placement)
    back = box.shares_put_back(one_hot(taken), placement)
    areas = {1: np.pi * 24**2, 2: np.pi * (33**2 - 24**2)}
    for label, area in areas.items():
        assert (taken[0] == label).sum() * 1.5**2 == pytest.approx(area, rel=0.02)
        assert (back[0] == label).sum() * pixel[0] * pixel[1] == pytest.approx(area, rel=0.03)
    assert (back != mask).mean() < 0.01
    cos, sin = np.cos(tilt), np.sin(tilt)
    from_middle = np.array([[cos, sin], [-sin, cos]]) @ (np.argwhere(taken[0] == 1).mean(0) - 47.5) * 1.5
    at = np.array(centre) * pixel + from_middle
    whole = step == (1.0, 1.0) and not tilt  # then a label moves by whole pixels alone
    np.testing.assert_allclose(at, np.argwhere(mask[0] == 1).mean(0) * pixel, atol=0.5 if whole else 0.25)


def test_the_same_heart_in_other_pixels_looks_the_same() -> None:
    """What a network is shown of it: smooth shapes agree to a few percent of the contrast."""
    shown = []
    for pixel in (0.9, 1.3, 1.5):
        image = hearts((pixel, pixel)).astype(np.int16) * 300
        x, _ = box.take(image, None, (2, 96, 96), box.Grid((1.5 / pixel, 1.5 / pixel)))
        shown.append(x)
    for one in shown[:2]:
        assert np.corrcoef(one.ravel(), shown[2].ravel())[0, 1] > 0.97


def test_beyond_the_image_there_is_padding() -> None:
    image = np.full((2, 20, 20), 5, np.int16)
    image[:, 10] = 9
    out, _ = box.take(image, (2.0, 17.0), (3, 32, 32), box.Grid((0.5, 0.5)))
    rows, columns = np.flatnonzero(out[0].any(1)), np.flatnonzero(out[0].any(0))
    first_y, last_x = 2.0 + (rows[0] - 15.5) * 0.5, 17.0 + (columns[-1] - 15.5) * 0.5
    assert -0.5 <= first_y < 0
    assert 19 < last_x <= 19.5
    assert not out[2].any()


def test_labels_of_two_kinds_meet_without_a_third_between() -> None:
    mask = np.zeros((1, 40, 40), np.uint8)
    mask[:, :, 13:20], mask[:, :, 20:] = 1, 2
    taken = resample_labels(mask, points((0, 0.7, 50), (0, 0.7, 50)), (0.7, 0.7)).reshape(50, 50)
    assert [int(v) for v in taken[0][np.flatnonzero(np.diff(taken[0].astype(int), prepend=-1))]] == [0, 1, 2]


def test_shares_put_a_border_between_pixels() -> None:
    """Two columns of 1.8 mm, the second 70 % wall: in pixels of 0.3 mm its border lies within one of where it is."""
    placement = box.place((1, 8, 48), (3.5, 23.5), (1, 8, 8), box.Grid((1.0, 6.0)))
    for share in (0.3, 0.5, 0.7, 1.0):
        shares = np.zeros((2, 1, 8, 8), np.uint8)
        shares[1, :, :, :3], shares[1, :, :, 3] = 255, round(255 * share)
        wall = box.shares_put_back(shares, placement)[0, 0] == 2
        assert wall[:12].all()
        assert abs(wall.sum() - 6 * (3 + share)) <= 1.3
    assert set(np.unique(box.shares_put_back(np.full((2, 1, 8, 8), 90, np.uint8), placement))) == {1}


def test_a_mask_at_the_sides_alone_goes_back_inside_the_image() -> None:
    placement = box.place((2, 30, 30), (1.0, 28.0), (2, 64, 64), box.Grid((1.31, 1.31)))
    back = box.shares_put_back(one_hot(np.full((2, 64, 64), 2, np.uint8)), placement)
    assert back.shape == (2, 30, 30)
    assert (back == 2).all()


@pytest.mark.parametrize("tilt", [0.3, -0.7, 3.0])
def test_a_turned_box_of_a_turned_heart_is_the_heart_upright(tilt: float) -> None:
    """A bar across the image's columns, turned toward the rows by the tilt, lies along the box's columns."""
    y, x = (np.arange(81) - 40.0)[:, None], (np.arange(121) - 60.0) / 1.5  # mm: columns closer together than rows
    along, off = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    mask = ((np.abs(off) < 5) & (along > 0) & (along < 25)).astype(np.uint8)[None]
    taken = box.take_mask(mask, box.place(mask.shape, None, (1, 64, 64), box.Grid((1.0, 1.5), tilt)))[0]
    rows, columns = np.nonzero(taken)
    assert set(rows) <= set(range(26, 38))
    assert set(columns) <= set(range(31, 58))
    assert taken.sum() == pytest.approx(250, rel=0.05)
