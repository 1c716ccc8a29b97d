"""Augmentation of a box, a pure function of (seed, epoch, row), so that a resumed run sees what it would have seen.

What befalls a row is drawn on the CPU; the work is done on the device where the batch lies. A row's bits depend on the
draw, the device's kind and the thread count, never on the other rows; the noise of a GPU is another than a CPU's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
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


@dataclass(frozen=True)
class Draw:
    """One row's augmentation: a turn in degrees, a magnification, a shift in pixels, whether left and right are changed
    over first; the intensities' gamma, gain and offset; the noise's SD and seed."""

    angle: float
    scale: float
    shift_y: float
    shift_x: float
    gamma: float
    gain: float
    offset: float
    noise: float
    noise_seed: int
    mirror: bool = False

    def rescaled(self, spacing: tuple[float, float, float]) -> tuple[float, float, float]:
        """(dz, dy, dx) after the magnification by s: pixels of 1/s the size, so that the heart's mass in grams, the
        regressor's target, stays as it is."""
        dz, dy, dx = spacing
        return dz, dy / self.scale, dx / self.scale


def draw(seed: int, epoch: int, row: int, magnify: bool = True, any_turn: bool = False) -> Draw:
    """row: its number in the data set. magnify: for whom sees the spacing, or draws what is magnified: the mass in
    grams of a heart that is magnified unseen would be another. any_turn: all around, and half of them mirrored."""
    rng = np.random.default_rng([seed, epoch, row])
    most = 180.0 if any_turn else ROTATION_DEG
    angle, scale = rng.uniform(-most, most), rng.uniform(1 - SCALE, 1 + SCALE)
    return Draw(angle=angle, scale=scale if magnify else 1.0,
                shift_y=rng.uniform(-SHIFT_PIXELS, SHIFT_PIXELS), shift_x=rng.uniform(-SHIFT_PIXELS, SHIFT_PIXELS),
                gamma=math.exp(rng.uniform(-LOG_GAMMA, LOG_GAMMA)), gain=rng.uniform(1 - CONTRAST, 1 + CONTRAST),
                offset=rng.uniform(-BRIGHTNESS, BRIGHTNESS), noise=rng.uniform(0, NOISE),
                noise_seed=int(rng.integers(2**63)), mirror=any_turn and bool(rng.integers(2)))


def augment(images: Tensor, masks: Tensor | None, aspects: Sequence[float],
            draws: Sequence[Draw]) -> tuple[Tensor, Tensor | None]:
    """Boxes turned, magnified and shifted in their plane, with other contrast and noise; their masks with them.

    images float32 [B, Z, Y, X], as `box.take` gives them: what is exactly 0 is padding and stays 0. masks uint8
    [B, Z, Y, X] or None; aspects: dy / dx, so that the turn is one in millimetres. Both come back new, on their device.
    """
    rows, columns = images.shape[2:]
    grids = [_grid(drawn, (rows, columns), aspect, images.device) for drawn, aspect in zip(draws, aspects, strict=True)]
    moved = torch.empty_like(images)
    for to, image, grid, drawn in zip(moved, images, grids, draws, strict=True):
        to.copy_(_with_other_intensities(_resample(image, grid, "bilinear"), drawn))
    if masks is None:
        return moved, None
    moved_masks = torch.empty_like(masks)
    for to, mask, grid in zip(moved_masks, masks, grids, strict=True):
        to.copy_(_resample(mask.float(), grid, "nearest"))
    return moved, moved_masks


def _grid(drawn: Draw, size: tuple[int, int], aspect: float, device: torch.device) -> Tensor:
    """Where each pixel of the result comes from, in grid_sample's coordinates (-1 to 1 across the box, x first)."""
    rows, columns = size
    y, x = ((2 * torch.arange(n, device=device) + 1) / n - 1 for n in size)
    angle, tall = math.radians(drawn.angle), aspect * rows / columns
    cos, sin = math.cos(angle) / drawn.scale, math.sin(angle) / drawn.scale
    x = -x if drawn.mirror else x
    from_x = cos * x - sin * tall * y[:, None] + 2 * drawn.shift_x / columns
    from_y = sin / tall * x + cos * y[:, None] + 2 * drawn.shift_y / rows
    return torch.stack([from_x, from_y], -1)


def _resample(volume: Tensor, grid: Tensor, mode: str) -> Tensor:
    """All slices at once, as channels of one image; 0 outside the box."""
    return F.grid_sample(volume[None], grid[None], mode=mode, align_corners=False)[0]


def _with_other_intensities(image: Tensor, drawn: Draw) -> Tensor:
    """Gamma, gain, offset and noise, in place."""
    padding = image == 0
    low, high = image.aminmax()
    span = (high - low).clamp_min(torch.finfo(image.dtype).tiny)
    image.sub_(low).div_(span).pow_(drawn.gamma).mul_(drawn.gain * span).add_(drawn.gain * low + drawn.offset)
    generator = torch.Generator(image.device).manual_seed(drawn.noise_seed)
    image.add_(torch.empty_like(image).normal_(0, drawn.noise, generator=generator))
    return image.masked_fill_(padding, 0)
