from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lvray import recipes
from lvray.cmr.archive import zip_members
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.cmr.study import read_cine
from lvray.estimate import predict
from lvray.nets.build import build
from lvray.nets.checkpoint import Checkpoint, write
from lvray.nets.predict import load

SMALL = PhantomOptions(phases=2, slices=6, rows=64, columns=64)
BOX = (6, 48, 48)


def make(folder: Path, kind: str, box: tuple[int, int, int] = BOX, weight: float = 1.0) -> Path:
    """A checkpoint whose network needs no training: a segmenter that calls myocardium what is brighter than the box's
    mean, a regressor that answers 100 g and a little by the image."""
    settings = recipes.named(f"smoke_{kind}").model_dump(mode="json")
    settings["network"] |= {"width": 4, "box": list(box)}
    torch.manual_seed(0)
    model: Any = build(kind, 4, box, True)
    if kind == "seg":
        for p in model.parameters():
            p.data.zero_()
        model.encoder.stem.weight.data[0, 0, 1, 1, 1] = weight
        model.fine.weight.data[2, 0] = 1
    write(folder, Checkpoint(
        settings=settings, weights=model.state_dict(), optimiser=torch.optim.Adam(model.parameters()).state_dict(),
        scheduler={}, epoch=0, step=0, seed=0, data="", version="0.1.0", mode={}, world=1, metrics={},
        trained_on={"dz_mm": [9, 11], "dy_mm": [1, 2], "dx_mm": [1, 2], "slices": [6, 12], "mass_g": [50, 200]}))
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("run") / "seg", "seg")


@pytest.fixture(scope="session")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("run") / "reg", "reg")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom participant's zip; its name starts with the participant's id."""
    return write_participant(tmp_path_factory.mktemp("ukb"), 0, 0, SMALL)


def predicted(study: Path, checkpoint: Path) -> dict[str, Any]:
    """What `lvray predict` says, as JSON has it."""
    with study.open("rb") as file:
        found = predict(read_cine(zip_members(file)), load(checkpoint)).to_dict()
    return found | {"spacing_mm": list(found["spacing_mm"])}
