from __future__ import annotations

import numpy as np
import pytest

from lvray.nets.augment import augment

SPACING = (10.0, 1.9, 1.6)


def heart() -> tuple[np.ndarray, np.ndarray]:
    """A ring of 20 and 30 mm in a box of 4 slices, padded by one slice and five columns."""
    y, x = np.mgrid[:64, :64]
    r = np.hypot((y - 33) * SPACING[1], (x - 30) * SPACING[2])
    mask = np.repeat((2 * (r < 30) - (r < 20).astype(int)).astype(np.uint8)[None], 4, 0)
    mask[3] = 0
    image = np.random.default_rng(0).normal(0, 0.3, mask.shape) + np.array([-0.5, 2.5, 0.5])[mask]
    image[3] = image[:, :, :5] = 0
    return image.astype(np.float32), mask


def grams(mask: np.ndarray, spacing: tuple[float, float, float]) -> float:
    return float(np.count_nonzero(mask == 2) * np.prod(spacing) / 1000 * 1.05)


def test_same_seed_epoch_and_row_give_the_same_bytes_and_any_other_does_not() -> None:
    image, mask = heart()
    first = augment(image, mask, SPACING, seed=1, epoch=2, row=3)
    again = augment(image, mask, SPACING, seed=1, epoch=2, row=3)
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1] is not None
    assert again[1] is not None
    assert first[1].tobytes() == again[1].tobytes()
    assert first[2] == again[2]
    for seed, epoch, row in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert augment(image, mask, SPACING, seed=seed, epoch=epoch, row=row)[2] != first[2]


def test_mass_in_grams_stays() -> None:
    image, mask = heart()
    true = grams(mask, SPACING)
    masses, scales = [], []
    for row in range(60):
        _, moved, spacing = augment(image, mask, SPACING, seed=0, epoch=0, row=row)
        assert moved is not None
        assert spacing[0] == SPACING[0]
        assert spacing[1] / spacing[2] == pytest.approx(SPACING[1] / SPACING[2])
        masses.append(grams(moved, spacing))
        scales.append(SPACING[1] / spacing[1])
    assert np.ptp(scales) > 0.15
    np.testing.assert_allclose(masses, true, rtol=0.03)
    assert np.mean(masses) == pytest.approx(true, rel=0.003)


def test_the_turn_is_rigid_in_millimetres() -> None:
    """The ring stays round, with pixels that are not square: its second moments in mm are equal along any axis."""
    image, mask = heart()
    for row in range(20):
        _, moved, (_, dy, dx) = augment(image, mask, SPACING, seed=0, epoch=0, row=row)
        assert moved is not None
        y, x = np.nonzero(moved[0])
        cov = np.cov(y * dy, x * dx)
        low, high = np.linalg.eigvalsh(cov)
        assert high / low < 1.06


def test_image_follows_its_mask_and_padding_stays_zero() -> None:
    image, mask = heart()
    for row in range(20):
        moved, moved_mask, _ = augment(image, mask, SPACING, seed=0, epoch=0, row=row)
        assert moved_mask is not None
        assert moved.dtype == np.float32
        assert np.isfinite(moved).all()
        assert not moved[3].any()
        assert moved[:3][moved_mask[:3] == 1].mean() > moved[:3][moved_mask[:3] == 2].mean() + 0.8
        assert set(np.unique(moved_mask)) <= {0, 1, 2}


def test_without_a_mask_and_of_a_constant_image() -> None:
    image, mask = heart()
    assert augment(image, None, SPACING, seed=0, epoch=0, row=0)[1] is None
    with_mask = augment(image, mask, SPACING, seed=0, epoch=0, row=0)[0]
    assert np.array_equal(augment(image, None, SPACING, seed=0, epoch=0, row=0)[0], with_mask)
    assert not augment(np.zeros_like(image), None, SPACING, seed=0, epoch=0, row=0)[0].any()
