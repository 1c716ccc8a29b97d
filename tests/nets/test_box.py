from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvray.nets import box


def image(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(300, 80, shape).astype(np.float32)


def test_same_size_keeps_every_pixel_in_place_and_normalises() -> None:
    x = image((3, 16, 24))
    out, placement = box.take(x, None, (3, 16, 24))
    assert placement.middle == (7.5, 11.5)
    assert out.dtype == np.float32
    assert abs(out.mean()) < 1e-6
    assert out.std() == pytest.approx(1, abs=1e-6)
    clipped = x.clip(*np.percentile(x, (1, 99.5)))
    np.testing.assert_allclose(out, (clipped - clipped.mean()) / clipped.std(), atol=1e-5)


IMAGES = st.tuples(
    st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)), st.integers(0, 2**32 - 1),
    st.sampled_from(["int16", "uint8", "uint16", "int32", "float32"]), st.sampled_from([0, 1, 3, 100, 4000, 30000]))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(IMAGES)
def test_intensities_are_those_of_numpys_percentiles_to_the_last_bit(
        drawn: tuple[tuple[int, int, int], int, str, int]) -> None:
    """The weights of old checkpoints were made with these."""
    shape, seed, dtype, spread = drawn
    values = np.random.default_rng(seed).gamma(2, spread / 3, shape) - spread / 2 * (dtype in ("int16", "float32"))
    x = np.clip(values, 0 if dtype.startswith("u") else -32768, 255 if dtype == "uint8" else 32767).astype(dtype)
    wanted = x.astype(np.float32)
    wanted = wanted.clip(*np.percentile(wanted, (1, 99.5)).astype(np.float32))
    wanted -= wanted.mean(dtype=np.float64)
    sd = wanted.std(dtype=np.float64)
    wanted = wanted / np.float32(sd) if sd > 0 else np.zeros_like(wanted)
    np.testing.assert_array_equal(box.take(x, None, shape)[0], wanted)


def test_written_into_zeros_it_is_the_same() -> None:
    x = image((2, 10, 30))
    mask = (x > 300).astype(np.uint8)
    whole, whole_mask = np.zeros((2, 4, 16, 24), np.float32), np.zeros((2, 4, 16, 24), np.uint8)
    fresh, placement = box.take(x, None, (4, 16, 24))
    written, _ = box.take(x, None, (4, 16, 24), out=whole[1])
    box.take_mask(mask, placement, out=whole_mask[1])
    assert np.shares_memory(written, whole)
    np.testing.assert_array_equal(whole, [np.zeros_like(fresh), fresh])
    np.testing.assert_array_equal(whole_mask[1], box.take_mask(mask, placement))


def test_one_wild_pixel_does_not_flatten_the_rest() -> None:
    x = image((3, 16, 24))
    calm = box.take(x, None, x.shape)[0]
    x[1, 2, 3] = 1e7
    np.testing.assert_allclose(np.median(box.take(x, None, x.shape)[0]), np.median(calm), atol=0.05)


def test_centre_lands_in_the_middle_and_slices_are_padded_behind_the_last() -> None:
    x = np.zeros((2, 30, 40), np.int16)
    x[:, 7, 33] = 1
    out, _ = box.take(x, (7.0, 33.0), (5, 16, 8))
    where = np.argwhere(out > 1)
    assert {tuple(w) for w in where} <= {(z, y, x) for z in (0, 1) for y in (7, 8) for x in (3, 4)}
    assert len(where) == 2
    assert not out[2:].any()


def test_padding_is_zero_and_takes_no_part_in_the_statistics() -> None:
    x = image((2, 10, 10))
    out, _ = box.take(x, None, (4, 16, 16))
    np.testing.assert_array_equal(out[:2, 3:13, 3:13], box.take(x, None, (2, 10, 10))[0])
    assert np.count_nonzero(out) == np.count_nonzero(out[:2, 3:13, 3:13])


@pytest.mark.parametrize("grid", [None, box.Grid((1.2, 1.2)), box.Grid((0.7, 0.9), 0.4)])
@pytest.mark.parametrize("value", [0, -3, 12345])
def test_constant_image_gives_zeros(value: int, grid: box.Grid | None) -> None:
    out, _ = box.take(np.full((2, 8, 8), value, np.int16), None, (2, 8, 8), grid)
    assert not out.any()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shape=st.tuples(st.integers(1, 4), st.integers(4, 30), st.integers(4, 30)),
       size=st.tuples(st.integers(4, 6), st.sampled_from([8, 16]), st.sampled_from([8, 24])),
       at=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_round_trip(shape: tuple[int, int, int], size: tuple[int, int, int], at: tuple[float, float] | None) -> None:
    """What comes back is the mask itself, less what the box did not reach, also for boxes partly outside the image."""
    mask = np.random.default_rng(0).integers(1, 3, shape, dtype=np.uint8)
    centre = at and (at[0] * (shape[1] - 1), at[1] * (shape[2] - 1))
    _, placement = box.take(image(shape), centre, size)
    taken = box.take_mask(mask, placement)
    back = box.put_back(taken, placement)
    assert taken.shape == size
    assert back.shape == shape
    np.testing.assert_array_equal(back, np.where(back > 0, mask, 0))
    assert np.count_nonzero(back) == np.count_nonzero(taken) > 0
    if centre is None and shape[1] <= size[1] and shape[2] <= size[2]:
        np.testing.assert_array_equal(back, mask)


def test_wrong_use_is_refused() -> None:
    x = image((3, 16, 16))
    with pytest.raises(ValueError, match="3 slices do not fit a box of 2"):
        box.take(x, None, (2, 16, 16))
    for centre in ((-1.0, 3.0), (3.0, 15.5), (float("nan"), 3.0)):
        with pytest.raises(ValueError, match="outside"):
            box.take(x, centre, (3, 8, 8))
    _, placement = box.take(x, None, (3, 8, 8))
    with pytest.raises(ValueError, match="mask"):
        box.take_mask(np.zeros((3, 16, 17), np.uint8), placement)
    with pytest.raises(ValueError, match="mask"):
        box.put_back(np.zeros((3, 16, 16), np.uint8), placement)
