"""Augmentation of a box, a pure function of (seed, epoch, row), so that a resumed run sees what it would have seen."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

ROTATION_DEG = 45.0
"""The canonical orientation is right to a quarter turn: this is what it leaves open."""
SHIFT_PIXELS = 4.0
SCALE = 0.1
LOG_GAMMA = 0.3
CONTRAST = 0.1
BRIGHTNESS = 0.1
NOISE = 0.1
"""Intensities are in SDs of the box."""

Spacing = tuple[float, float, float]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]


def augment(image: Image, mask: Mask | None, spacing: Spacing, *, seed: int, epoch: int,
            row: int) -> tuple[Image, Mask | None, Spacing]:
    """A box turned, scaled and shifted in its plane, with other contrast and noise; its mask and spacing with it.

    image float32 [Z, Y, X] as `box.take` returns it, mask uint8 [Z, Y, X] or None, spacing (dz, dy, dx) in mm.
    The turn is one in millimetres, whatever dy and dx. An image enlarged by s has pixels of 1/s the size, so that the
    heart's mass in grams, the regressor's target, stays as it is.
    """
    rng = np.random.default_rng([seed, epoch, row])
    angle = math.radians(rng.uniform(-ROTATION_DEG, ROTATION_DEG))
    scale = rng.uniform(1 - SCALE, 1 + SCALE)
    shift = rng.uniform(-SHIFT_PIXELS, SHIFT_PIXELS, 2)
    dz, dy, dx = spacing
    grid = _grid(image.shape[1:], (dy, dx), angle, scale, shift)
    moved = _contrast(_resample(image, grid, "bilinear"), rng)
    moved_mask = None if mask is None else _resample(mask.astype(np.float32), grid, "nearest").astype(np.uint8)
    return moved, moved_mask, (dz, dy / scale, dx / scale)


def _grid(size: tuple[int, ...], spacing: tuple[float, float], angle: float, scale: float,
          shift: npt.NDArray[np.float64]) -> torch.Tensor:
    """Where each pixel of the result comes from, in grid_sample's coordinates (-1 to 1 across the box, x first)."""
    half_y, half_x = (n * d / 2 for n, d in zip(size, spacing, strict=True))
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    theta = torch.tensor([[[cos, -sin * half_y / half_x, 2 * shift[1] / size[1]],
                           [sin * half_x / half_y, cos, 2 * shift[0] / size[0]]]], dtype=torch.float32)
    return F.affine_grid(theta, [1, 1, *size], align_corners=False)


def _resample(volume: Image, grid: torch.Tensor, mode: str) -> Image:
    """All slices at once, as channels of one image; 0 outside the box."""
    moved: Image = F.grid_sample(torch.from_numpy(volume)[None], grid, mode=mode, align_corners=False)[0].numpy()
    return moved


def _contrast(image: Image, rng: np.random.Generator) -> Image:
    """Gamma, contrast, brightness and noise inside the image; what is exactly 0 is padding and stays 0."""
    gamma = math.exp(rng.uniform(-LOG_GAMMA, LOG_GAMMA))
    gain, offset = rng.uniform(1 - CONTRAST, 1 + CONTRAST), rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    noise = rng.uniform(0, NOISE) * rng.standard_normal(image.shape, np.float32)
    low, span = image.min(), max(np.ptp(image), np.finfo(np.float32).tiny)
    curved = low + span * ((image - low) / span) ** gamma
    return np.where(image == 0, 0, gain * curved + offset + noise).astype(np.float32)
