"""Which rows of a data set a recipe can use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvray.errors import UseError
from lvray.settings import Recipe
from lvray.shards.dataset import Dataset, select

NEEDED = {"seg": "mask", "reg": "manual_g"}
"""The column that a network is trained on."""


@dataclass(frozen=True)
class Selection:
    """Numbers of rows. set_aside: how many have more slices than the network's box, of training and validation."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    set_aside: int


def selected(dataset: Dataset, recipe: Recipe) -> Selection:
    """UseError where what is left fills no batch."""
    slices = np.array([shape[0] for shape in dataset.index["shape"].to_pylist()], np.int64)
    usable = [select(dataset, [split], [NEEDED[recipe.network.kind]]) for split in ("train", "validation")]
    train, validation = (rows[slices[rows] <= recipe.network.box[0]] for rows in usable)
    set_aside = sum(map(len, usable)) - len(train) - len(validation)
    if len(train) < recipe.stream.batch:
        raise UseError(f"{len(train)} training studies have a {NEEDED[recipe.network.kind]}"
                       + (f" and fit the box ({set_aside} have more than its {recipe.network.box[0]} slices)"
                          if set_aside else "")
                       + f"; recipe {recipe.name} needs at least its batch of {recipe.stream.batch}")
    return Selection(train, validation, set_aside)
