from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lvray import recipes
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.nets.build import build
from lvray.nets.checkpoint import Checkpoint, write

SMALL = PhantomOptions(phases=2, slices=6, rows=64, columns=64)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter whose answer needs no training: what is brighter than the box's mean is myocardium."""
    settings = recipes.named("smoke_seg").model_dump(mode="json")
    settings["network"] |= {"width": 4, "box": [6, 48, 48]}
    model: Any = build("seg", 4, (6, 48, 48), True)
    for p in model.parameters():
        p.data.zero_()
    model.encoder.stem.weight.data[0, 0, 1, 1, 1] = 1
    model.fine.weight.data[2, 0] = 1
    folder = tmp_path_factory.mktemp("run") / "best"
    write(folder, Checkpoint(
        settings=settings, weights=model.state_dict(), optimiser=torch.optim.Adam(model.parameters()).state_dict(),
        scheduler={}, epoch=0, step=0, seed=0, data="", version="0.1.0", mode={}, world=1, metrics={},
        trained_on={"dz_mm": [9, 11], "dy_mm": [1, 2], "dx_mm": [1, 2], "slices": [6, 12], "mass_g": [50, 200]}))
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom participant's zip; its name starts with the participant's id."""
    return write_participant(tmp_path_factory.mktemp("ukb"), 0, 0, SMALL)
