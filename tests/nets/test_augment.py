from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lvray.nets.augment import Draw, augment, draw

SPACING = (10.0, 1.9, 1.6)
ASPECT = SPACING[1] / SPACING[2]
NOTHING = Draw(angle=0, scale=1, shift_y=0, shift_x=0, gamma=1, gain=1, offset=0, noise=0, noise_seed=0)


def heart() -> tuple[Tensor, Tensor]:
    """A ring of 20 and 30 mm in a box of 4 slices, padded by one slice and five columns."""
    y, x = np.mgrid[:64, :64]
    r = np.hypot((y - 33) * SPACING[1], (x - 30) * SPACING[2])
    mask = np.repeat((2 * (r < 30) - (r < 20).astype(int)).astype(np.uint8)[None], 4, 0)
    mask[3] = 0
    image = np.random.default_rng(0).normal(0, 0.3, mask.shape) + np.array([-0.5, 2.5, 0.5])[mask]
    image[3] = image[:, :, :5] = 0
    return torch.tensor(image, dtype=torch.float32), torch.tensor(mask)


def moved(image: Tensor, mask: Tensor, drawn: Draw) -> tuple[Tensor, Tensor]:
    images, masks = augment(image[None], mask[None], [ASPECT], [drawn])
    assert masks is not None
    return images[0], masks[0]


def grams(mask: Tensor, spacing: tuple[float, float, float]) -> float:
    return float((mask == 2).sum() * math.prod(spacing) / 1000 * 1.05)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), epoch=st.integers(0, 10**4), row=st.integers(0, 10**7))
def test_what_is_drawn_is_a_function_of_seed_epoch_and_row_and_in_range(seed: int, epoch: int, row: int) -> None:
    drawn = draw(seed, epoch, row)
    assert drawn == draw(seed, epoch, row)
    assert not drawn.mirror
    for other in ((seed + 1, epoch, row), (seed, epoch + 1, row), (seed, epoch, row + 1)):
        assert vars(draw(*other)).items() & vars(drawn).items() == {("mirror", False)}
    assert abs(drawn.angle) <= 45
    assert max(abs(drawn.shift_y), abs(drawn.shift_x)) <= 4
    assert max(abs(drawn.scale - 1), abs(drawn.gain - 1), abs(drawn.offset), drawn.noise) <= 0.1
    assert abs(math.log(drawn.gamma)) <= 0.3 + 1e-9


def test_any_turn_goes_all_around_and_mirrors_half() -> None:
    drawn = [draw(0, 0, row, any_turn=True) for row in range(400)]
    turns, mirrored = np.histogram([one.angle for one in drawn], 8, (-180, 180))[0], sum(one.mirror for one in drawn)
    assert turns.min() > 30
    assert 160 < mirrored < 240
    assert (drawn[0].gamma, drawn[0].noise_seed) == (draw(0, 0, 0).gamma, draw(0, 0, 0).noise_seed)


def test_a_mirror_changes_left_and_right() -> None:
    image, mask = heart()
    still = Draw(angle=0, scale=1, shift_y=0, shift_x=0, gamma=1, gain=1, offset=0, noise=0, noise_seed=0, mirror=True)
    moved_image, moved_mask = moved(image, mask, still)
    assert torch.equal(moved_mask, mask.flip(-1))
    assert torch.allclose(moved_image, image.flip(-1), atol=1e-4)


def test_mass_in_grams_stays() -> None:
    image, mask = heart()
    true = grams(mask, SPACING)
    masses, scales = [], []
    for row in range(60):
        drawn = draw(0, 0, row)
        spacing = drawn.rescaled(SPACING)
        assert spacing[0] == SPACING[0]
        assert spacing[1] / spacing[2] == pytest.approx(ASPECT)
        masses.append(grams(moved(image, mask, drawn)[1], spacing))
        scales.append(SPACING[1] / spacing[1])
    assert np.ptp(scales) > 0.15
    np.testing.assert_allclose(masses, true, rtol=0.03)
    assert np.mean(masses) == pytest.approx(true, rel=0.003)


def test_the_turn_is_rigid_in_millimetres() -> None:
    """The ring stays round, with pixels that are not square: its second moments in mm are equal along any axis."""
    image, mask = heart()
    for row in range(20):
        y, x = np.nonzero(moved(image, mask, draw(0, 0, row))[1][0].numpy())
        low, high = np.linalg.eigvalsh(np.cov(y * SPACING[1], x * SPACING[2]))
        assert high / low < 1.06


@settings(max_examples=60, deadline=None, derandomize=True)
@given(number=st.integers(0, 10**6), y=st.integers(20, 43), x=st.integers(24, 55))
def test_a_landmark_lands_where_the_geometry_says_in_image_and_mask_alike(number: int, y: int, x: int) -> None:
    """By complex numbers in mm from the box's middle: what is seen at w comes from w e^(i angle) / scale + shift."""
    drawn = replace(draw(0, 0, number), gamma=1, gain=1, offset=0, noise=0)
    rows, columns = np.mgrid[:64, :80]
    spot = torch.tensor(np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8), dtype=torch.float32)[None]
    image, mask = moved(spot, (spot > 0.05).to(torch.uint8), drawn)
    (dy, dx), middle = SPACING[1:], (31.5, 39.5)
    came_from = complex((x - middle[1] - drawn.shift_x) * dx, (y - middle[0] - drawn.shift_y) * dy)
    lands = came_from * drawn.scale * np.exp(-1j * math.radians(drawn.angle))
    wanted = (lands.imag / dy + middle[0], lands.real / dx + middle[1])
    for weights, within in ((image[0].numpy(), 0.02), (mask[0].numpy(), 0.35)):
        found = [np.average(index, weights=weights) for index in (rows, columns)]
        np.testing.assert_allclose(found, wanted, atol=within)


def test_nothing_drawn_changes_nothing() -> None:
    image, mask = heart()
    same, same_mask = moved(image, mask, NOTHING)
    torch.testing.assert_close(same, image, atol=1e-4, rtol=0)
    assert torch.equal(same_mask, mask)
    assert NOTHING.rescaled(SPACING) == SPACING


def test_image_follows_its_mask_and_padding_stays_zero() -> None:
    image, mask = heart()
    for row in range(20):
        other, other_mask = moved(image, mask, draw(0, 0, row))
        assert (other.dtype, other_mask.dtype) == (torch.float32, torch.uint8)
        assert other.isfinite().all()
        assert not other[3].any()
        assert other[:3][other_mask[:3] == 1].mean() > other[:3][other_mask[:3] == 2].mean() + 0.8
        assert set(other_mask.unique().tolist()) <= {0, 1, 2}
    assert not moved(torch.zeros_like(image), mask, draw(0, 0, 0))[0].any()


def test_intensities_get_gamma_gain_offset_and_noise() -> None:
    image, mask = heart()[0][:1, :, 8:40], torch.zeros(1, 64, 32, dtype=torch.uint8)
    plain = moved(image, mask, NOTHING)[0]
    low, span = plain.min(), plain.max() - plain.min()
    curved = moved(image, mask, replace(NOTHING, gamma=1.3, gain=0.9, offset=-0.1))[0]
    torch.testing.assert_close(curved, 0.9 * (low + span * ((plain - low) / span) ** 1.3) - 0.1)
    noise, other = (moved(image, mask, replace(NOTHING, noise=0.1, noise_seed=seed))[0] - plain for seed in (5, 6))
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(0.1, rel=0.05)
    assert not torch.equal(noise, other)
