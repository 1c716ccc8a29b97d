"""ML4Hseg: the 3D U-Net-style segmenter (Khurshid et al. 2021, PMC8890333; the authors' released architecture)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvray.nets.layers import Block, Encoder, PixelSizeNorm, unpool

CLASSES = 3


class Segmenter(nn.Module):
    """Image and pixel size -> logits of background, cavity and myocardium.

    Parameters at width w, without the pixel size: stem 28w; three encoder blocks of 3 convolutions,
    27(1 + 2 + 3)w^2 + 3w each; three decoder blocks, 27(2 + 3 + 4)w^2 + 3w each; 1x1x1 convolution 6w + 3:
    1215w^2 + 52w + 3 = 1,245,827 at w = 32. The pixel size adds 8 + 10w, the pitch 4 + 4w more.

    The 1x1x1 convolution of (decoder's output, first skip) is two linear maps over the channels, the first taken
    before the last upsampling: the same function, without 2w channels at full resolution.
    Weights are drawn from torch's global generator: seed it first.
    """

    def __init__(self, width: int = 32, pixel_size: bool = True, pitch: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder(width)
        self.norm = PixelSizeNorm(width, pitch) if pixel_size else None
        self.decoder = nn.ModuleList(Block(2 * width, width) for _ in range(3))
        self.coarse = nn.Linear(width, CLASSES)
        self.fine = nn.Linear(width, CLASSES, bias=False)

    def forward(self, image: Tensor, spacing: Tensor) -> Tensor:
        """Image [B, 1, Z, Y, X] and (dz, dy, dx) in mm [B, 3] -> logits [B, 3, Z, Y, X].

        Y and X are multiples of 8, Z is free.
        """
        full, half, quarter, x = self.encoder(image)
        if self.norm is not None:
            x = self.norm(x, spacing)
        x = unpool(self.decoder[0](torch.cat((x, x), 1)))
        x = unpool(self.decoder[1](torch.cat((x, quarter), 1)))
        x = self.decoder[2](torch.cat((x, half), 1))
        return unpool(_pixelwise(self.coarse, x)) + _pixelwise(self.fine, full)


def _pixelwise(layer: nn.Linear, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return F.linear(x.movedim(1, -1), layer.weight.to(x.dtype), bias).movedim(-1, 1)
