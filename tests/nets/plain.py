"""Both networks and their losses once more, from the description alone: one concatenation after another, a real 1x1x1
convolution at full resolution, everything contiguous, in the precision of what is given."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]


def weights_of(network: torch.nn.Module) -> Weights:
    """As doubles, with gradients of their own."""
    return {name: q.detach().double().contiguous().requires_grad_() for name, q in network.named_parameters()}


def loss(kind: str, p: Weights, image: Tensor, spacing: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch."""
    if kind == "seg":
        return F.cross_entropy(segmenter(p, image, spacing), target.long())
    return (regressor(p, image, spacing) - target).cosh().log().mean()


def segmenter(p: Weights, image: Tensor, spacing: Tensor) -> Tensor:
    skips = _encoder(p, image)
    x = skips[3]
    if "norm.affine.weight" in p:
        affine = F.linear(_pixel_size(p, "norm.pixel_size", spacing), p["norm.affine.weight"], p["norm.affine.bias"])
        scale, shift = affine[:, :, None, None, None].chunk(2, 1)
        x = F.instance_norm(x) * (1 + scale) + shift
    for i, skip in enumerate((x, skips[2], skips[1])):
        x = _block(p, f"decoder.{i}", torch.cat((x, skip), 1)).repeat_interleave(2, 3).repeat_interleave(2, 4)
    head = torch.cat((p["coarse.weight"], p["fine.weight"]), 1)[:, :, None, None, None]
    return F.conv3d(torch.cat((x, skips[0]), 1), head, p["coarse.bias"])


def regressor(p: Weights, image: Tensor, spacing: Tensor) -> Tensor:
    flat = _encoder(p, image)[3].flatten(1)
    weight = p["image.weight"] / math.sqrt(flat.shape[1])
    if "pixels.weight" in p:
        features = _pixel_size(p, "pixel_size", spacing)
        flat = torch.cat((flat, features), 1)
        weight = torch.cat((weight, p["pixels.weight"] / math.sqrt(features.shape[1])), 1)
    x = F.mish(F.linear(flat, weight, p["image.bias"]))
    x = F.mish(F.linear(x, p["second.weight"], p["second.bias"]))
    return F.linear(x, p["out.weight"], p["out.bias"])[:, 0]


def _encoder(p: Weights, image: Tensor) -> list[Tensor]:
    maps = [_convolution(p, "encoder.stem", image)]
    for i in range(3):
        maps.append(_block(p, f"encoder.blocks.{i}", F.max_pool3d(maps[-1], (1, 2, 2))))
    return maps


def _block(p: Weights, name: str, x: Tensor) -> Tensor:
    seen = [x]
    for k in ("first", "second", "third"):
        seen.append(_convolution(p, f"{name}.{k}", torch.cat(seen, 1)))
    return seen[-1]


def _convolution(p: Weights, name: str, x: Tensor) -> Tensor:
    return F.mish(F.conv3d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=1))


def _pixel_size(p: Weights, name: str, spacing: Tensor) -> Tensor:
    standard = {"dz": spacing[:, :1] - 10, "dy": (spacing[:, 1:2] - 1.83) / 0.1, "dx": (spacing[:, 2:] - 1.83) / 0.1}
    return torch.cat([F.linear(v, p[f"{name}.{axis}.weight"], p[f"{name}.{axis}.bias"])
                      for axis, v in standard.items() if f"{name}.{axis}.weight" in p], 1)
