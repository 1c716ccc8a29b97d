"""One training step, and one validation: what the Train worker repeats. torch alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lvray.nets import box
from lvray.nets.augment import augment
from lvray.nets.losses import cross_entropy, log_cosh
from lvray.settings import Recipe
from lvray.shards.schema import Row


@dataclass(frozen=True)
class Batch:
    """image [B, 1, Z, Y, X], spacing [B, 2] (dy, dx) mm; target: mask uint8 [B, Z, Y, X], or standardised mass [B]."""

    image: Tensor
    spacing: Tensor
    target: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(self.image.to(device), self.spacing.to(device), self.target.to(device))


def prepare(recipe: Recipe, rows: list[Row], epoch: int | None, numbers: list[int]) -> Batch:
    """Rows as a network sees them. epoch: for the augmentation, which is a function of (seed, epoch, row number);
    None: no augmentation."""
    images, spacings, targets = [], [], []
    target: Any
    for row, number in zip(rows, numbers, strict=True):
        centre = row.heart_yx if recipe.network.centre == "heart" else None
        image, placement = box.take(row.image, centre, recipe.network.box)
        mask = box.take_mask(row.mask, placement) if recipe.network.kind == "seg" and row.mask is not None else None
        spacing = row.spacing
        if epoch is not None and recipe.augment:
            image, mask, spacing = augment(image, mask, spacing, seed=recipe.stream.seed, epoch=epoch, row=number)
        images.append(image)
        spacings.append(spacing[1:])
        target = mask if recipe.network.kind == "seg" else _standardised(recipe, row)
        targets.append(target)
    return Batch(torch.from_numpy(np.stack(images))[:, None], torch.tensor(spacings, dtype=torch.float32),
                 torch.from_numpy(np.stack(targets)))


def _standardised(recipe: Recipe, row: Row) -> np.float32:
    assert row.manual_g is not None
    return np.float32((row.manual_g - recipe.target.mean_g) / recipe.target.sd_g)


def row_losses(recipe: Recipe, model: nn.Module, batch: Batch) -> Tensor:
    """[B]: log-cosh of the regressor, mean cross-entropy of the segmenter."""
    out = model(batch.image, batch.spacing)
    return cross_entropy(out, batch.target) if recipe.network.kind == "seg" else log_cosh(out, batch.target)


def sum_over_workers(values: Iterable[Tensor]) -> None:
    """Adds up each tensor over all workers, in place, by one all-reduce of a fixed layout: the sums of a resumed run
    are the same bits. (DistributedDataParallel lays its buckets out anew after the first step.)"""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return
    tensors = list(values)
    flat = torch.cat([t.reshape(-1) for t in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def train_step(recipe: Recipe, model: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch) -> float:
    """One update from this worker's share of a global batch; -> the global batch's mean loss."""
    optimiser.zero_grad()
    loss = row_losses(recipe, model, batch).sum() / recipe.stream.batch
    loss.backward()
    total = loss.detach().reshape(1)
    sum_over_workers([*(p.grad for p in model.parameters() if p.grad is not None), total])
    value = float(total)
    if np.isfinite(value):
        optimiser.step()
    return value


def optimiser_of(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}
    made: torch.optim.Optimizer = kinds[recipe.optimiser.name](model.parameters(), lr=recipe.optimiser.lr)
    return made
