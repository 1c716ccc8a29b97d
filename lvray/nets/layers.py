"""The parts that both networks are made of.

Feature maps are [B, C, Z, Y, X], of the image's precision: float32 or bfloat16. Weights are float32 and are rounded
where they meet a map of bfloat16; the pixel size and the statistics of a normalisation are float32 in any case.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SPACING_MM = {"dz": (10.0, 1.0), "dy": (1.83, 0.1), "dx": (1.83, 0.1)}
"""What a spacing is standardised by: mean and scale."""


class Convolution(nn.Conv3d):
    """3x3x3 'same' convolution with bias: 27 * inputs * outputs + outputs parameters.

    He-normal weights and zero biases: nothing normalises between the layers, so the initial scale alone carries the
    signal through all of them (mish passes about half of the power, as ReLU does).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if len(x) == 1 and not torch.is_grad_enabled() and x.is_cpu and _has_onednn(x.dtype):
            # for a single study conv3d unfolds the image and multiplies matrices, 1.5 to 5 times as slow as oneDNN,
            # which it takes for two and more; oneDNN's sums are the same bits whatever the batch
            alone: Tensor = torch.ops.aten.mkldnn_convolution(x, weight, bias, [1] * 3, [1] * 3, [1] * 3, 1)
            return alone
        return F.conv3d(x, weight, bias, padding=1)


def _has_onednn(precision: torch.dtype) -> bool:
    """Whether oneDNN convolves maps of that precision on this CPU: those of bf16 need AVX-512 or ARM's bf16."""
    return torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled() and (
        precision is not torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Dense(nn.Linear):
    """nn.Linear on [B, n]. Where no gradient is kept, each row by itself: the bits of a product of several rows depend
    on how many they are, and on a row's place among them."""

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().forward(input)
        return torch.cat([F.linear(row, self.weight, self.bias) for row in input.split(1)])


def pool(x: Tensor) -> Tensor:
    """Max over 2x2 pixels of a slice; the number of slices stays."""
    return _by_slice(lambda slices: F.max_pool2d(slices, 2), x)


def unpool(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by 2 in the plane of the slices."""
    return _by_slice(lambda slices: F.interpolate(slices, scale_factor=2, mode="nearest"), x)


def _by_slice(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f of the slices as images, [N, C, Y, X], without a copy in either memory format. torch's 3D versions of pool and
    unpool have no GPU code for channels last, and pool's gradient none that is deterministic and quick."""
    batch, channels, slices = x.shape[:3]
    made: Tensor
    if x.is_contiguous():
        made = f(x.flatten(1, 2)).unflatten(1, (channels, slices))
    else:
        made = f(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, slices)).transpose(1, 2)
    return made


class Block(nn.Module):
    """Three convolutions with mish. Each sees the block's input beside all earlier outputs; the last is returned."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = Convolution(inputs, width)
        self.second = Convolution(inputs + width, width)
        self.third = Convolution(inputs + 2 * width, width)

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
        self.stem = Convolution(1, width)
        self.blocks = nn.ModuleList(Block(width, width) for _ in range(3))

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [F.mish(self.stem(image))]
        for block in self.blocks:
            maps.append(block(pool(maps[-1])))
        return maps


class PixelSize(nn.ModuleDict):
    """Spacing [B, 3] = (dz, dy, dx) in mm -> features float32 [B, 4]: (v - 1.83) / 0.1 of dy and of dx, each through
    a Dense(2). With the pitch [B, 6]: (dz - 10) / 1 through one of its own before them."""

    def __init__(self, pitch: bool) -> None:
        super().__init__({axis: Dense(1, 2) for axis in SPACING_MM if pitch or axis != "dz"})
        self.features = 2 * len(self)

    def forward(self, spacing: Tensor) -> Tensor:
        values = zip(SPACING_MM.items(), spacing.split(1, 1), strict=True)
        return torch.cat([self[axis]((v - mean) / scale) for (axis, (mean, scale)), v in values if axis in self], 1)


class PixelSizeNorm(nn.Module):
    """Normalises each channel of each study over its own pixels, then scales and shifts it as the pixel size says.

    Adaptive instance normalisation (Huang and Belongie, 2017, arXiv:1703.06868). Nothing is shared between the
    studies of a batch. Starts near the plain normalisation, scale 1 and shift 0.
    """

    def __init__(self, width: int, pitch: bool) -> None:
        super().__init__()
        self.pixel_size = PixelSize(pitch)
        self.affine = Dense(self.pixel_size.features, 2 * width)
        nn.init.normal_(self.affine.weight, std=0.01)
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, spacing: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.float(), (2, 3, 4), correction=0, keepdim=True)
        scale, shift = self.affine(self.pixel_size(spacing))[:, :, None, None, None].chunk(2, 1)
        normal = (x - mean) * torch.rsqrt(variance + 1e-5)
        result: Tensor = normal * (1 + scale) + shift
        return result.to(x.dtype)
