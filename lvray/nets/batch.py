"""What a step takes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """image float32 [B, 1, Z, Y, X]; spacing float32 [B, 3], (dz, dy, dx) in mm; target: the mask uint8 [B, Z, Y, X],
    or the standardised mass float32 [B]; numbers: the rows in the data set."""

    image: Tensor
    spacing: Tensor
    target: Tensor
    numbers: tuple[int, ...]
