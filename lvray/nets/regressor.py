"""ML4Hreg: the 3D CNN that regresses LV mass (Khurshid et al. 2021, PMC8890333)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvray.nets.layers import Dense, Encoder, PixelSize

HIDDEN = (16, 64)


class Regressor(nn.Module):
    """Image and pixel size -> standardised LV mass. The encoder is the segmenter's; its last map is flattened,
    joined with the pixel-size features, and goes through dense layers of 16, 64 and 1.

    The dense layer on the joined vector is written as the sum of one on the image and one on the pixel size, each with
    unit-variance weights and its input divided by the root of its own length. The functions it can express are the
    same, but four pixel-size features count beside n = 425,984 of the image, and a step of Adam moves the hidden units
    by about lr * sqrt(n), not lr * n: at the paper's rate and half its width, the first step from torch's default
    initialisation moves the output by 60 standard deviations, from this one by 0.8.

    7,315,833 parameters at width 32, box (13, 256, 256), pixel size included: encoder 498,848, dense layers 6,816,977,
    pixel-size features 8; the pitch adds 36. Weights are drawn from torch's global generator: seed it first.
    """

    def __init__(self, width: int, box: tuple[int, int, int], pixel_size: bool = True,
                 pitch: bool = False) -> None:
        super().__init__()
        slices, rows, columns = box
        self.encoder = Encoder(width)
        self.image = _unit_linear(width * slices * (rows // 8) * (columns // 8), HIDDEN[0])
        self.pixel_size = PixelSize(pitch) if pixel_size else None
        self.pixels = _unit_linear(self.pixel_size.features, HIDDEN[0], bias=False) if self.pixel_size else None
        self.second = Dense(*HIDDEN)
        self.out = Dense(HIDDEN[1], 1)

    def forward(self, image: Tensor, spacing: Tensor) -> Tensor:
        """Image [B, 1, Z, Y, X], exactly the box, and (dz, dy, dx) in mm [B, 3] -> (mass - mean) / SD [B]."""
        flat = self.encoder(image)[-1].flatten(1).float()
        if torch.is_grad_enabled():
            return self._mass(flat, spacing)
        rows = zip(flat.split(1), spacing.split(1), strict=True)  # each by itself, as Dense has its rows
        return torch.cat([self._mass(*row) for row in rows])

    def _mass(self, flat: Tensor, spacing: Tensor) -> Tensor:
        x = self.image(flat / math.sqrt(flat.shape[1]))
        if self.pixel_size is not None and self.pixels is not None:
            x = x + self.pixels(self.pixel_size(spacing) / math.sqrt(self.pixel_size.features))
        mass: Tensor = self.out(F.mish(self.second(F.mish(x))))
        return mass.squeeze(1)


def _unit_linear(inputs: int, outputs: int, bias: bool = True) -> Dense:
    layer = Dense(inputs, outputs, bias=bias)
    nn.init.normal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
