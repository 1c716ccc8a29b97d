"""A small data set without DICOM, and a recipe for it that takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvray import recipes
from lvray.settings import Recipe, Splits, Tensorize
from lvray.shards.dataset import Dataset
from lvray.shards.schema import Row
from tests.shards.conftest import make_row, write_to

ROWS = 40
SPLITS = Splits(validation=0.15, calibration=0.0, holdout=0.1)
TENSORIZE = Tensorize(group_rows=4, splits=SPLITS, shard_mb=1)
SMALL = ["network.width=2", "network.box=6,16,24", "epochs=3", "validate_epochs=1", "patience=null",
         "optimiser.lr=0.003", "stream.window=8", "saving.seconds=0"]
"""A checkpoint after every step."""


def small(kind: str, *sets: str) -> Recipe:
    return recipes.override(recipes.named(f"smoke_{kind}"), [*SMALL, *sets])


def tiny_row(number: int, **changes: Any) -> Row:
    """A row that both networks can be trained on."""
    rng = np.random.default_rng(number)
    row = make_row(number, SPLITS)
    image = rng.integers(0, 900, (5, 20, 22)).astype(np.int16)
    image[0, 0, 0] = number
    facts: dict[str, Any] = {"image": image, "mask": (image // 301).astype(np.uint8), "mask_source": "inlinevf",
                             "manual_g": 80.0 + number, "heart_yx": (9.0, 10.0), "others": None, "other_phases": (),
                             "other_masks": None, "other_mask_phases": (), "es_phase": None}
    return Row(**{**vars(row), **facts, **changes})


def tiny_dataset(uri: str, rows: int = ROWS) -> Dataset:
    return write_to(uri, [tiny_row(number) for number in range(rows)], TENSORIZE)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(str(Path(tmp_path_factory.mktemp("tiny")) / "data"))
