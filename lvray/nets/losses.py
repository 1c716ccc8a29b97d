"""The two losses, one value a row: a trainer sums its rows and divides by the global batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def log_cosh(prediction: Tensor, target: Tensor) -> Tensor:
    """log(cosh(prediction - target)), [B] and [B] -> [B], as d + softplus(-2d) - ln 2 with d = |difference|.

    Nothing overflows at any size, and the gradient is tanh(difference).
    """
    difference = (prediction - target).float()
    d = difference.abs()
    return d + F.softplus(-2 * d) - math.log(2)


def cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy in nats over a row's pixels: logits [B, 3, Z, Y, X], mask uint8 [B, Z, Y, X] -> [B].

    Padding is background and counts like any other pixel. The logit of the true class is picked by comparison:
    torch's nll_loss has no deterministic gradient on a GPU.
    """
    logits = logits.float()
    classes = torch.arange(logits.shape[1], device=mask.device, dtype=mask.dtype).view(1, -1, 1, 1, 1)
    true = torch.where(mask.unsqueeze(1) == classes, logits, 0).sum(1)
    return (logits.logsumexp(1) - true).mean((1, 2, 3))
