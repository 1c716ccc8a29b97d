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
import torch
from torch import Tensor

from lvray.errors import CheckpointError
from lvray.nets import box
from lvray.nets.build import build
from lvray.nets.checkpoint import WEIGHTS, Checkpoint, read
from lvray.nets.pieces import keep_largest
from lvray.nets.regressor import Regressor
from lvray.nets.segmenter import Segmenter
from lvray.nets.step import PRECISIONS
from lvray.nets.trained import INTERVALS, Centre, Mask, Shown, Spacing, Trained, Volume

FACTS = ("dz_mm", "dy_mm", "dx_mm", "slices", "mass_g")


@dataclass(frozen=True, kw_only=True)
class Predictor(Trained):
    """A trained network and what it was trained with. precision: of feature maps; fp32, whatever it was trained in."""

    model: Segmenter | Regressor
    precision: Literal["fp32", "bf16"] = "fp32"

    def segment(self, image: Volume, spacing: Spacing, centre_yx: Centre = None) -> Mask:
        """Mask uint8 [Z, Y, X] in the image's own grid. ValueError: a regressor's checkpoint."""
        shown = self.shown(image, spacing, centre_yx)
        return box.put_back(self.masks([shown])[0], shown.placement)

    def regress(self, image: Volume, spacing: Spacing, centre_yx: Centre = None) -> float:
        """LV mass in grams. StudyRefused: see `shown`. ValueError: a segmenter's checkpoint."""
        return self.masses([self.shown(image, spacing, centre_yx)])[0]

    def masks(self, studies: Sequence[Shown], batch: int = 1) -> list[Mask]:
        """uint8 [box] of each, with what lies beside the heart removed (`pieces`). ValueError: a regressor."""
        if not isinstance(self.model, Segmenter):
            raise ValueError("a regressor does not segment")
        with torch.inference_mode():
            labels = [logits.argmax(0).to(torch.uint8) for logits in self._run(studies, batch)]
            return [keep_largest(mask).cpu().numpy() for mask in labels]

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
            and isinstance(network["pixel_size"], bool)
            and isinstance(network["pitch"], bool)
            and all(type(n) is int and n > 0 for n in (network["width"], slices, rows, columns))
            and rows % 8 == columns % 8 == 0
            and all(math.isfinite(n) for n in numbers)
            and target["sd_g"] > 0)
