"""Predictions with a checkpoint alone: no settings by hand, no Ray."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvray.errors import CheckpointError
from lvray.nets.build import build
from lvray.nets.checkpoint import WEIGHTS, Checkpoint, read
from lvray.nets.pieces import keep_largest
from lvray.nets.regressor import Regressor
from lvray.nets.segmenter import Segmenter
from lvray.nets.step import PRECISIONS
from lvray.nets.trained import INTERVALS, Centre, Drawn, Shown, Spacing, Trained, Volume

WALL = 2
"""Label of the myocardium."""
FACTS = ("dz_mm", "dy_mm", "dx_mm", "slices", "mass_g")


@dataclass(frozen=True, kw_only=True)
class Predictor(Trained):
    """A trained network and what it was trained with. precision: of feature maps; fp32, whatever it was trained in."""

    model: Segmenter | Regressor
    precision: Literal["fp32", "bf16"] = "fp32"

    def segment(self, image: Volume, spacing: Spacing, centre_yx: Centre = None, tilt: float = 0.0) -> Drawn:
        """In the image's own grid [Z, Y, X]. ValueError: a regressor's checkpoint."""
        shown = self.shown(image, spacing, centre_yx, tilt)
        return self.masks([shown])[0].put_back(shown.placement)

    def regress(self, image: Volume, spacing: Spacing, centre_yx: Centre = None, tilt: float = 0.0) -> float:
        """LV mass in grams. StudyRefused: see `shown`. ValueError: a segmenter's checkpoint."""
        return self.masses([self.shown(image, spacing, centre_yx, tilt)])[0]

    def masks(self, studies: Sequence[Shown], batch: int = 1) -> list[Drawn]:
        """[box] of each, with what lies beside the heart removed (`pieces`). ValueError: a regressor."""
        if not isinstance(self.model, Segmenter):
            raise ValueError("a regressor does not segment")
        with torch.inference_mode():
            if self.network["pixel_mm"] is None:
                labels = (logits.argmax(0).to(torch.uint8) for logits in self._run(studies, batch))
                return [Drawn(keep_largest(mask).cpu().numpy()) for mask in labels]
            wanted = VIEWS[:self.network["views"]]
            turned = [[replace(study, image=view.turned(study.image)) for study in studies] for view in wanted]
            runs = [self._run(run, batch) for run in turned]
            return [_averaged([view.undone(logits) for view, logits in zip(wanted, of_study, strict=True)])
                    for of_study in zip(*runs, strict=True)]

    def masses(self, studies: Sequence[Shown], batch: int = 1) -> list[float]:
        """Grams of each. ValueError: a segmenter."""
        if not isinstance(self.model, Regressor):
            raise ValueError("a segmenter does not regress")
        target = self.checkpoint.settings["target"]
        with torch.inference_mode():
            return [float(mass) * float(target["sd_g"]) + float(target["mean_g"]) for mass in self._run(studies, batch)]

    def _run(self, studies: Sequence[Shown], batch: int) -> Iterator[Tensor]:
        """The network's answer to each study, in their order; `batch` of them a pass. A pass of fewer is filled up: its
        size may decide the last bits on a GPU, who shares it does not."""
        device = next(self.model.parameters()).device
        for _, alike in groupby(studies, lambda study: study.image.shape):
            while part := list(islice(alike, batch)):
                filled = part + part[:1] * (batch - len(part))
                x = torch.from_numpy(np.stack([study.image for study in filled])[:, None])
                spacing = torch.tensor([study.spacing for study in filled], dtype=torch.float32)
                out: Tensor = self.model(x.to(device, PRECISIONS[self.precision]), spacing.to(device))
                yield from out[:len(part)]


@dataclass(frozen=True)
class View:
    """A box seen otherwise: its columns in reverse order, then so many quarter turns."""

    quarters: int
    mirror: bool

    def turned(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """[Z, N, N] -> the same."""
        image = image[:, :, ::-1] if self.mirror else image
        return np.ascontiguousarray(np.rot90(image, self.quarters, (1, 2)))

    def undone(self, logits: Tensor) -> Tensor:
        """[C, Z, N, N] of a turned box -> of the box."""
        logits = logits.rot90(-self.quarters, (2, 3))
        return logits.flip(3) if self.mirror else logits


VIEWS = tuple(View(quarters, mirror) for quarters, mirror in
              ((0, False), (1, True), (2, False), (3, True), (0, True), (1, False), (2, True), (3, False)))
"""All eight; the first two, and the first four, are as unlike each other as can be."""


def _averaged(views: Sequence[Tensor]) -> Drawn:
    """From each view's logits [3, Z, Y, X]. What is no piece of the heart has no share."""
    mean = torch.stack([logits.float().softmax(0) for logits in views]).mean(0)
    labels = mean.argmax(0).to(torch.uint8)
    mask = keep_largest(labels)
    shares = (255 * mean[1:]).round().masked_fill(labels != mask, 0).to(torch.uint8)
    agreement = (sum(_dice(logits.argmax(0) == WALL, mask == WALL) for logits in views) / len(views)
                 if len(views) > 1 else None)
    return Drawn(mask.cpu().numpy(), agreement, shares.cpu().numpy())


def _dice(one: Tensor, other: Tensor) -> float:
    """0 where both are empty: nothing to agree on."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()).clamp_min(1))


def beside_weights(predictor: Predictor) -> Trained:
    """What others than the network's own process need to know of it: small."""
    slim = replace(predictor.checkpoint, weights={}, optimiser={})
    return Trained(checkpoint=slim, weights_sha256=predictor.weights_sha256, intervals=predictor.intervals)


def load(folder: Path) -> Predictor:
    """The predictor of a checkpoint's folder. CheckpointError: see `read`, or settings that are none, or weights
    that do not fit them."""
    saved = read(folder)
    try:
        sound = _sound(saved)
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise CheckpointError("the checkpoint's state.json lacks what a prediction needs, or holds what cannot be:"
                              " use the lvray version that wrote it, or train anew")
    network = saved.settings["network"]
    try:
        model = build(network["kind"], network["width"], tuple(network["box"]), network["pixel_size"], network["pitch"])
        model.load_state_dict(saved.weights)
    except RuntimeError as error:
        raise CheckpointError("the checkpoint's weights do not fit the network that its settings describe:"
                              " use the lvray version that wrote it, or train anew") from error
    model = model.to(memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    weights = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    return Predictor(checkpoint=saved, weights_sha256=weights, intervals=_intervals(folder / INTERVALS, weights),
                     model=model)


def _intervals(file: Path, weights: str) -> dict[str, Any] | None:
    if not file.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        if found["weights_sha256"] == weights:
            return found
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise CheckpointError(f"the checkpoint's {INTERVALS} is damaged or belongs to other weights: remove it, and"
                          " `lvray calibrate` makes it anew")


def _sound(saved: Checkpoint) -> bool:
    """Whether all that predictions use is there and of its kind. KeyError, TypeError, ValueError, OverflowError: no."""
    network, target = saved.settings["network"], saved.settings["target"]
    slices, rows, columns = network["box"]
    ranges = [saved.trained_on[fact] for fact in FACTS]
    numbers = [target["mean_g"], target["sd_g"], *(value for least, greatest in ranges for value in (least, greatest))]
    return (isinstance(saved.settings["name"], str)
            and isinstance(saved.settings["for_show"], bool)
            and network["kind"] in ("seg", "reg")
            and network["centre"] in ("image", "heart")
            and (network["pixel_mm"] is None or 0 < network["pixel_mm"] < math.inf)
            and network["views"] in (1, 2, 4, 8)
            and (network["views"] == 1 or rows == columns)
            and isinstance(network["pixel_size"], bool)
            and isinstance(network["pitch"], bool)
            and all(type(n) is int and n > 0 for n in (network["width"], slices, rows, columns))
            and rows % 8 == columns % 8 == 0
            and all(math.isfinite(n) for n in numbers)
            and target["sd_g"] > 0)
