"""Both networks as one writes them first: torch.cat before every convolution, a 1x1x1 convolution at full resolution,
torch's own losses and Adam, fp32, contiguous. The same functions as lvray.nets', in other words."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv3d(inputs + k * width, width, 3, padding=1) for k in range(3))
        self.mish = nn.Mish()

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for convolution in self.convolutions:
            outputs.append(self.mish(convolution(torch.cat([x, *outputs], dim=1))))
        return outputs[-1]


class Encoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(1, width, 3, padding=1), nn.Mish())
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.blocks = nn.ModuleList(Block(width, width) for _ in range(3))

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem(image)]
        for block in self.blocks:
            maps.append(block(self.pool(maps[-1])))
        return maps


class PixelSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(1, 2), nn.Linear(1, 2)])

    def forward(self, spacing: Tensor) -> Tensor:
        values = (spacing[:, 1:] - 1.83) / 0.1
        return torch.cat([dense(values[:, i : i + 1]) for i, dense in enumerate(self.dense)], dim=1)


class Segmenter(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.encoder = Encoder(width)
        self.pixel_size = PixelSize()
        self.affine = nn.Linear(4, 2 * width)
        self.norm = nn.InstanceNorm3d(width)
        self.decoder = nn.ModuleList(Block(2 * width, width) for _ in range(3))
        self.up = nn.Upsample(scale_factor=(1, 2, 2))
        self.head = nn.Conv3d(2 * width, 3, 1)

    def forward(self, image: Tensor, spacing: Tensor) -> Tensor:
        full, half, quarter, x = self.encoder(image)
        scale, shift = self.affine(self.pixel_size(spacing))[:, :, None, None, None].chunk(2, dim=1)
        x = self.norm(x) * (1 + scale) + shift
        for block, skip in zip(self.decoder, (x, quarter, half), strict=True):
            x = self.up(block(torch.cat([x, skip], dim=1)))
        logits: Tensor = self.head(torch.cat([x, full], dim=1))
        return logits


class Regressor(nn.Module):
    def __init__(self, width: int, box: tuple[int, int, int]) -> None:
        super().__init__()
        self.encoder = Encoder(width)
        self.pixel_size = PixelSize()
        self.dense = nn.Sequential(nn.Linear(width * box[0] * (box[1] // 8) * (box[2] // 8) + 4, 16), nn.Mish(),
                                   nn.Linear(16, 64), nn.Mish(), nn.Linear(64, 1))

    def forward(self, image: Tensor, spacing: Tensor) -> Tensor:
        flat = self.encoder(image)[-1].flatten(1)
        mass: Tensor = self.dense(torch.cat([flat, self.pixel_size(spacing)], dim=1))
        return mass.squeeze(1)


def log_cosh(prediction: Tensor, target: Tensor) -> Tensor:
    return torch.log(torch.cosh(prediction - target)).mean()
