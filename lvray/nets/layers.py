"""The parts that both networks are made of. Feature maps are float [B, C, Z, Y, X]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SPACING_MEAN_MM = 1.83
SPACING_SCALE_MM = 0.1
PIXEL_FEATURES = 4


def convolution(inputs: int, outputs: int) -> nn.Conv3d:
    """3x3x3 'same' convolution with bias: 27 * inputs * outputs + outputs parameters.

    He-normal weights and zero biases: nothing normalises between the layers, so the initial scale alone carries the
    signal through all of them (mish passes about half of the power, as ReLU does).
    """
    layer = nn.Conv3d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def pool(x: Tensor) -> Tensor:
    """Max over 2x2 pixels of a slice; the number of slices stays."""
    return F.max_pool3d(x, (1, 2, 2))


def unpool(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by 2 in the plane of the slices."""
    return F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest")


class Block(nn.Module):
    """Three convolutions with mish. Each sees the block's input beside all earlier outputs; the last is returned."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = convolution(inputs, width)
        self.second = convolution(inputs + width, width)
        self.third = convolution(inputs + 2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        first = F.mish(self.first(x))
        second = F.mish(self.second(torch.cat((x, first), 1)))
        if second.requires_grad:  # its gradient is a strided slice, which mish's backward is 8 times slower on
            second.register_hook(torch.clone)
        return F.mish(self.third(torch.cat((x, first, second), 1)))


class Encoder(nn.Module):
    """Image [B, 1, Z, Y, X] -> four maps of `width` channels, at Y and X divided by 1, 2, 4 and 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = convolution(1, width)
        self.blocks = nn.ModuleList(Block(width, width) for _ in range(3))

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [F.mish(self.stem(image))]
        for block in self.blocks:
            maps.append(block(pool(maps[-1])))
        return maps


class PixelSize(nn.Module):
    """In-plane spacing [B, 2] = (dy, dx) in mm -> features [B, 4]: (v - 1.83) / 0.1 through a Dense(2) for each."""

    def __init__(self) -> None:
        super().__init__()
        self.dy = nn.Linear(1, 2)
        self.dx = nn.Linear(1, 2)

    def forward(self, spacing: Tensor) -> Tensor:
        v = (spacing - SPACING_MEAN_MM) / SPACING_SCALE_MM
        return torch.cat((self.dy(v[:, :1]), self.dx(v[:, 1:])), 1)


class PixelSizeNorm(nn.Module):
    """Normalises each channel of each study over its own pixels, then scales and shifts it as the pixel size says.

    Adaptive instance normalisation (Huang and Belongie, 2017, arXiv:1703.06868). Nothing is shared between the
    studies of a batch. Starts near the plain normalisation, scale 1 and shift 0.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pixel_size = PixelSize()
        self.affine = nn.Linear(PIXEL_FEATURES, 2 * width)
        nn.init.normal_(self.affine.weight, std=0.01)
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, spacing: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.float(), (2, 3, 4), correction=0, keepdim=True)
        scale, shift = self.affine(self.pixel_size(spacing))[:, :, None, None, None].chunk(2, 1)
        normal = (x - mean) * torch.rsqrt(variance + 1e-5)
        result: Tensor = normal * (1 + scale) + shift
        return result
