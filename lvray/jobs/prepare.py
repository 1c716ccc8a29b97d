"""Rows as a network sees them, in two halves: what the threads beside the training do, and what its device does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lvray.cmr.geometry import tilt
from lvray.nets import box
from lvray.nets.augment import Draw, augment, draw
from lvray.nets.batch import Batch
from lvray.nets.trained import grid_of, spacing_of
from lvray.settings import Recipe
from lvray.shards.schema import Row


@dataclass(frozen=True)
class Raw:
    """A batch in the host's memory, pinned where there is CUDA. draws: the augmentation that its images and masks
    still lack, by row; spacing already is what that makes of it. Empty: none."""

    batch: Batch
    draws: tuple[Draw, ...]


def prepare(recipe: Recipe, rows: list[Row], epoch: int | None, numbers: list[int]) -> Batch:
    """Both halves on the CPU."""
    return finish(recipe, collate(recipe, rows, epoch, numbers), torch.device("cpu"))


def collate(recipe: Recipe, rows: list[Row], epoch: int | None, numbers: list[int]) -> Raw:
    """The host's half: boxes cut and normalised, the augmentation drawn.

    epoch: for the augmentation, which is a function of (seed, epoch, number in the data set); None: no augmentation.
    Rows have what the network is trained on. ValueError: more slices than the network's box.
    """
    network = recipe.network
    image = _zeros((len(rows), *network.box), torch.float32)
    placements = [box.take(row.image, row.heart_yx if network.centre == "heart" else None, network.box,
                           grid_of(network.pixel_mm, row.spacing, tilt(row.affine)), out)[1]
                  for row, out in zip(rows, image.numpy(), strict=True)]
    target = _masks(rows, placements) if network.kind == "seg" else _masses(recipe, rows)
    spacings = [spacing_of(network.pixel_mm, row.spacing) for row in rows]
    draws: tuple[Draw, ...] = ()
    if epoch is not None and recipe.augment:
        magnify = network.kind == "seg" or network.pixel_size
        draws = tuple(draw(recipe.stream.seed, epoch, number, magnify, recipe.any_turn) for number in numbers)
        spacings = [drawn.rescaled(spacing) for drawn, spacing in zip(draws, spacings, strict=True)]
    spacing = _pinned(torch.tensor(spacings, dtype=torch.float32))
    return Raw(Batch(image[:, None], spacing, target, tuple(numbers)), draws)


def finish(recipe: Recipe, raw: Raw, device: torch.device) -> Batch:
    """The device's half: the batch moved there, and augmented. Waits for no GPU. A row is the same bytes whatever the
    other rows."""
    host = raw.batch
    image, spacing, target = (t.to(device, non_blocking=True) for t in (host.image, host.spacing, host.target))
    if raw.draws:
        masks = target if recipe.network.kind == "seg" else None
        aspects = (host.spacing[:, 1] / host.spacing[:, 2]).tolist()
        images, masks = augment(image[:, 0], masks, aspects, raw.draws)
        image, target = images[:, None], target if masks is None else masks
    return Batch(image, spacing, target, host.numbers)


def _masks(rows: list[Row], placements: list[box.Placement]) -> Tensor:
    masks = _zeros((len(rows), *placements[0].box), torch.uint8)
    for row, placement, out in zip(rows, placements, masks.numpy(), strict=True):
        assert row.mask is not None
        box.take_mask(row.mask, placement, out)
    return masks


def _masses(recipe: Recipe, rows: list[Row]) -> Tensor:
    """Standardised."""
    grams = torch.tensor([row.manual_g for row in rows], dtype=torch.float64)
    return _pinned(((grams - recipe.target.mean_g) / recipe.target.sd_g).float())


def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.zeros(shape, dtype=dtype, pin_memory=torch.cuda.is_available())


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if torch.cuda.is_available() else tensor
