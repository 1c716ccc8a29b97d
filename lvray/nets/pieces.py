"""Connected pieces of a segmentation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def keep_largest(mask: Tensor) -> Tensor:
    """Without what lies apart from the heart: uint8 [Z, Y, X] -> the same, other pieces set to background.

    Pieces are those of the mask seen along the slice axis (8-connected), the largest the one of most voxels. A left
    ventricle is one stack of discs, so anything beside the stack is a mistake that would add grams; yet a slice that
    the network missed does not cut the stack in two, as it would with pieces in 3D.
    """
    seen = (mask > 0).any(0).float()
    label = seen * torch.arange(1, seen.numel() + 1, device=mask.device).view_as(seen)
    while True:  # the highest number of a piece spreads over it; numbers are below 2^24, where float32 is exact
        spread = F.max_pool2d(label[None], 3, stride=1, padding=1)[0] * seen
        if torch.equal(spread, label):
            break
        label = spread
    voxels = torch.bincount(label.long().expand_as(mask)[mask > 0], minlength=1)
    return mask * (label == voxels.argmax())
